"""SynGait: synthetic walkers with known identity, which anyone may use; docs/syngait.md describes them."""
