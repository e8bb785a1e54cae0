"""SynGait: synthetic silhouettes of walking subjects with known identity; see docs/syngait.md."""
