"""From the images a camera or a segmenter gives to the frames a network reads."""

from __future__ import annotations

from dygait.preprocess.silhouettes import normalise_silhouette

__all__ = ["normalise_silhouette"]
