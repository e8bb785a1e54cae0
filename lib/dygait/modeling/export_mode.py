"""Whether a network is being exported: its graph must not depend on the values of lengths or on a batch's size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_exporting = False


def is_exporting() -> bool:
    """Return whether the network is being exported: padded frames are then masked instead of removed."""
    return _exporting


@contextmanager
def export_mode() -> Iterator[None]:
    """Compute forward passes within a `with` block in the form that can be exported; without gradients."""
    global _exporting
    before, _exporting = _exporting, True
    try:
        yield
    finally:
        _exporting = before
