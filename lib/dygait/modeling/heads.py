"""What the models' heads share: the sizes that a configuration gives them, and their weights' names.

N sequences, C channels, P parts (horizontal strips), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from dygait.registry import Problem


@with_config(ConfigDict(extra="forbid", strict=True))
class FCSizes(TypedDict):
    """The sizes of the separate fully connected layers, as OpenGait's configs give them."""

    in_channels: int
    out_channels: int
    parts_num: int


@with_config(ConfigDict(extra="forbid", strict=True))
class NeckSizes(TypedDict):
    """The sizes of the BNNecks, as OpenGait's configs give them."""

    class_num: int
    in_channels: int
    parts_num: int


Renames = tuple[tuple[str, str], ...]
"""Rules (pattern, replacement) of `re.sub` from our names of tensors to OpenGait's, applied in turn."""

GAITGL_HEAD: Renames = (
    (r"^pooling\.", "HPP."),
    (r"^fcs\.", "Head0."),
    (r"^head_norm\.", "Bn."),
    (r"^classifier\.", "Head1."),
    (r"^necks\.", "BNNecks."),
)
"""The names of GeM pooling, separate FCs and of either class head."""

CLASS_HEAD = ("classifier.fc_bin", "necks.fc_bin")
"""The tensors whose sizes are the number of classes."""


def unequal(section: str, given: Mapping[str, Any], wanted: Mapping[str, int]) -> list[Problem]:
    """Return a problem for each size that does not have the value that the other settings want."""
    return [
        Problem((section, key), f"must be {value} to fit the other settings, got {given[key]}")
        for key, value in wanted.items()
        if given[key] != value
    ]


def strip_problems(bins: Sequence[int], input_size: list[int] | None, rows: int) -> list[Problem]:
    """Return a problem where a map's rows do not divide into every number of strips.

    Args:
        bins: the numbers of strips.
        input_size: [H, W] of the silhouettes, as the configuration gives it.
        rows: the rows of the map that silhouettes of that size give.
    """
    unfit = [b for b in bins if b < 1 or rows < 1 or rows % b]
    if not unfit:
        return []
    height, width = input_size or DEFAULT_SIZE
    return [
        Problem(
            ("bin_num",),
            f"a {height}x{width} input gives features {rows} rows high, which do not divide into {unfit} strips; "
            f"choose divisors of {rows}, or another input_size",
        )
    ]


DEFAULT_SIZE = [64, 44]
"""[H, W] of the field's silhouettes."""


def size_problems(input_size: list[int] | None) -> list[Problem]:
    """Return a problem where an input's size is not two positive numbers."""
    if input_size is None or (len(input_size) == 2 and min(input_size) > 0):
        return []
    return [Problem(("input_size",), f"must be [H, W], two positive numbers, got {input_size}")]
