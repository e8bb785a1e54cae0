"""The heads of models: their sizes in a configuration, the names of their weights in OpenGait, and GaitGL's two heads.

N sequences, C channels, P parts (horizontal strips), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import ConfigDict, with_config
from torch import nn
from typing_extensions import TypedDict

from dygait.modeling import layers
from dygait.modeling.output import GaitOutput


@with_config(ConfigDict(extra="forbid", strict=True))
class FCSizes(TypedDict, total=False):
    """Sizes of the separate fully connected layers, as OpenGait's configs give them.

    Those that are given must fit the other settings. out_channels absent: as in_channels.
    """

    in_channels: int
    out_channels: int
    parts_num: int


@with_config(ConfigDict(extra="forbid", strict=True))
class NeckSizes(TypedDict, total=False):
    """Sizes of the BNNecks, as OpenGait's configs give them. Those that are given must fit the other settings."""

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


GaitGLHead = tuple[layers.SeparateBNNecks | None, nn.BatchNorm1d | None, layers.SeparateFCs | None]
"""BNNecks; or a BatchNorm, and the separate FC to the logits where classes are known."""


def separate_fcs(given: FCSizes | None, channels: int, parts: int) -> layers.SeparateFCs:
    """Return the separate FCs of features of C channels and P parts."""
    sizes = given or FCSizes()
    check_sizes("SeparateFCs", sizes, {"in_channels": channels, "parts_num": parts})
    out_channels = sizes.get("out_channels", channels)
    check_positive("SeparateFCs.out_channels", out_channels)
    return layers.SeparateFCs(parts, channels, out_channels)


def separate_bn_necks(
    given: NeckSizes | None, channels: int, parts: int, class_num: int | None
) -> layers.SeparateBNNecks:
    """Return the BNNecks of features of C channels and P parts."""
    classes = number_of_classes(class_num, given)
    if classes is None:
        raise ValueError("class_num: this key is required")
    check_sizes("SeparateBNNecks", given or NeckSizes(), {"in_channels": channels, "parts_num": parts})
    return layers.SeparateBNNecks(parts, channels, classes)


def number_of_classes(class_num: int | None, necks: NeckSizes | None) -> int | None:
    """Return K, which a configuration gives as `class_num`, as `SeparateBNNecks.class_num`, or not at all."""
    classes = class_num if class_num is not None else (necks or NeckSizes()).get("class_num")
    if classes is not None:
        check_sizes("SeparateBNNecks", necks or NeckSizes(), {"class_num": classes})
        key = "class_num" if class_num is not None else "SeparateBNNecks.class_num"
        check_positive(key, classes)
    return classes


def gaitgl_head(channels: int, parts: int, class_num: int | None, necks: NeckSizes | None) -> GaitGLHead:
    """Return the layers of one of GaitGL's two heads: BNNecks where `necks` is given, else the paper's."""
    if necks is not None:
        return separate_bn_necks(necks, channels, parts, class_num), None, None
    classes = number_of_classes(class_num, None)
    classifier = None if classes is None else layers.SeparateFCs(parts, channels, classes)
    return None, nn.BatchNorm1d(channels), classifier


def gaitgl_output(features: torch.Tensor, head: GaitGLHead) -> GaitOutput:
    """Return the output of a network whose features (N, C, P) go through one of GaitGL's heads.

    With BNNecks, triplet loss and test use the features before them. The paper's head normalises features for triplet
    loss, test and the separate FC.
    """
    necks, norm, classifier = head
    if necks is not None:
        return GaitOutput(features, necks(features), features)
    assert norm is not None
    normed = norm(features)
    return GaitOutput(normed, None if classifier is None else classifier(normed), normed)


def check_sizes(section: str, given: Mapping[str, object], expected: Mapping[str, int]) -> None:
    """Raise ValueError where a size is given that does not have the value that the other settings need."""
    for key, value in expected.items():
        if given.get(key, value) != value:
            raise ValueError(f"{section}.{key}: must be {value} to fit the other settings, got {given[key]}")


def check_positive(key: str, given: int) -> None:
    """Raise ValueError where a setting is not positive."""
    if given < 1:
        raise ValueError(f"{key}: must be at least 1, got {given}")


def check_numbers(key: str, given: Sequence[int], count: int, component: str) -> None:
    """Raise ValueError where a setting is not so many positive numbers.

    Args:
        key: of the setting.
        given: its value.
        count: how many numbers it takes.
        component: what takes them, for the message.
    """
    if len(given) != count or min(given) < 1:
        raise ValueError(f"{key}: {component} takes {count} positive numbers, got {list(given)}")
