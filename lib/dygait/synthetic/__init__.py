"""SynGait: synthetic walkers with known identity, because no gait data set can be shipped.

:func:`add_arguments` and :func:`main` are ``dygait synth``; the work is in :mod:`dygait.synthetic.generate`.
docs/syngait.md describes the walkers.
"""

from __future__ import annotations

from dygait.synthetic.command import add_arguments, main

__all__ = ["add_arguments", "main"]
