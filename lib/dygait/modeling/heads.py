"""What the models' heads share: sizes that a configuration gives them, weights' names, and GaitGL's two heads.

N sequences, C channels, P parts (horizontal strips), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import ConfigDict, with_config
from torch import nn
from typing_extensions import TypedDict

from dygait.modeling.layers import SeparateBNNecks, SeparateFCs
from dygait.modeling.output import GaitOutput
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


GaitGLHead = tuple[SeparateBNNecks | None, nn.BatchNorm1d | None, SeparateFCs | None]
"""BNNecks; or a BatchNorm, and the separate FC to the logits where classes are known."""


def gaitgl_head(channels: int, parts: int, class_num: int | None, necks: NeckSizes | None) -> GaitGLHead:
    """Return the layers of one of GaitGL's two heads: of BNNecks where there are sizes for them, else the paper's."""
    if necks is not None:
        return SeparateBNNecks(**necks), None, None
    classifier = None if class_num is None else SeparateFCs(parts, channels, class_num)
    return None, nn.BatchNorm1d(channels), classifier


def gaitgl_output(features: torch.Tensor, head: GaitGLHead) -> GaitOutput:
    """Return what a network gives whose features (N, C, P) go through one of GaitGL's heads.

    With BNNecks, triplet loss and test use the features before them. The paper's head normalises features for triplet
    loss, test and the separate FC.
    """
    necks, norm, classifier = head
    if necks is not None:
        return GaitOutput(features, necks(features), features)
    assert norm is not None
    normed = norm(features)
    return GaitOutput(normed, None if classifier is None else classifier(normed), normed)


def class_problems(class_num: int | None, necks: NeckSizes | None, channels: int, parts: int) -> list[Problem]:
    """Return what is wrong with the sizes of one of GaitGL's heads, for features of so many channels and parts."""
    found = []
    if class_num is not None and class_num < 1:
        found.append(Problem(("class_num",), f"must be at least 1, got {class_num}"))
    if necks is not None:
        classes = necks["class_num"] if class_num is None else class_num
        sizes = {"in_channels": channels, "parts_num": parts, "class_num": classes}
        found += unequal("SeparateBNNecks", necks, sizes)
    return found


def unequal(section: str, given: Mapping[str, Any], wanted: Mapping[str, int]) -> list[Problem]:
    """Return a problem for each size that does not have the value that the other settings want."""
    return [
        Problem((section, key), f"must be {value} to fit the other settings, got {given[key]}")
        for key, value in wanted.items()
        if given[key] != value
    ]


def strip_problems(
    bins: Sequence[int], input_size: list[int] | None, rows: int, columns: int | None = None
) -> list[Problem]:
    """Return a problem where a map's rows do not divide into every number of strips, or it has no column.

    Args:
        bins: the numbers of strips.
        input_size: [H, W] of the silhouettes, as the configuration gives it.
        rows: the rows of the map that silhouettes of that size give.
        columns: its columns; None: nobody asks.
    """
    height, width = input_size or DEFAULT_SIZE
    unfit = [b for b in bins if b < 1 or rows < 1 or rows % b]
    if unfit:
        wrong = f"which do not divide into {unfit} strips; choose divisors of {rows}, or another input_size"
    elif columns == 0:
        wrong = "of no column; choose another input_size"
    else:
        return []
    return [Problem(("bin_num",), f"a {height}x{width} input gives features {rows} rows high, {wrong}")]


DEFAULT_SIZE = [64, 44]
"""[H, W] of the field's silhouettes."""


def size_problems(input_size: list[int] | None) -> list[Problem]:
    """Return a problem where an input's size is not two positive numbers."""
    if input_size is None or (len(input_size) == 2 and min(input_size) > 0):
        return []
    return [Problem(("input_size",), f"must be [H, W], two positive numbers, got {input_size}")]
