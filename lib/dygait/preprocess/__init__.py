"""From the images a camera or a segmenter gives to the frames a network reads.

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dygait.preprocess.silhouettes import normalise_silhouette

__all__ = ["normalise_silhouette"]


def __getattr__(name: str) -> Any:
    if name == "normalise_silhouette":
        from dygait.preprocess.silhouettes import normalise_silhouette

        return normalise_silhouette
    raise AttributeError(f"module 'dygait.preprocess' has no attribute {name!r}")
