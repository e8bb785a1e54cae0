"""The heads of models, and the checks of their sizes: GaitGL's two heads, and the BNNeck head of GaitBase.

N sequences, C channels, P parts (horizontal strips), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import ConfigDict, with_config
from torch import nn
from typing_extensions import TypedDict

from dygait.modeling import layers
from dygait.modeling.frames import Counts, sequence_max
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import GeMHorizontalPooling, HorizontalPooling

strict_keys = with_config(ConfigDict(extra="forbid", strict=True))
"""Decorator of the mappings of a configuration: unknown keys and values of another type are errors."""


@strict_keys
class FCSizes(TypedDict, total=False):
    """Sizes of the separate FCs, as OpenGait's configs give them; `out_channels` absent: as `in_channels`."""

    in_channels: int
    out_channels: int
    parts_num: int


@strict_keys
class NeckSizes(TypedDict, total=False):
    """Sizes of the BNNecks, as OpenGait's configs give them, and the weight of each part of `after_neck` (1)."""

    class_num: int
    in_channels: int
    parts_num: int
    part_weights: list[float]


Renames = tuple[tuple[str, str], ...]
"""Rules (pattern, replacement) of `re.sub`, applied in turn, that map our names of tensors to OpenGait's."""

BNNECK_NAMES: Renames = ((r"^fcs\.", "FCs."), (r"^necks\.", "BNNecks."))
GAITGL_NAMES: Renames = (
    (r"^pooling\.", "HPP."),
    (r"^fcs\.", "Head0."),
    (r"^head_norm\.", "Bn."),
    (r"^classifier\.", "Head1."),
    (r"^necks\.", "BNNecks."),
)
"""Renames of GeM pooling, separate FCs and either class head."""


def separate_fcs(sizes: FCSizes | None, channels: int, parts: int) -> layers.SeparateFCs:
    """Return separate FCs for features of C channels and P parts."""
    sizes = sizes or FCSizes()
    check_sizes("SeparateFCs", sizes, {"in_channels": channels, "parts_num": parts})
    out_channels = sizes.get("out_channels", channels)
    check_positive("SeparateFCs.out_channels", out_channels)
    return layers.SeparateFCs(parts, channels, out_channels)


def separate_bn_necks(
    sizes: NeckSizes | None, channels: int, parts: int, class_num: int | None
) -> layers.SeparateBNNecks:
    """Return BNNecks for features of C channels and P parts; `class_num` is the result of `number_of_classes`."""
    if class_num is None:
        raise ValueError("class_num: this key is required")
    sizes = sizes or NeckSizes()
    check_sizes("SeparateBNNecks", sizes, {"in_channels": channels, "parts_num": parts})
    weights = sizes.get("part_weights")
    if weights is not None:
        check_part_weights("SeparateBNNecks.part_weights", weights, parts)
    return layers.SeparateBNNecks(parts, channels, class_num, weights)


def number_of_classes(class_num: int | None, necks: NeckSizes | None) -> int | None:
    """Return K, from `class_num` or `SeparateBNNecks.class_num`; None if a configuration sets neither."""
    classes = class_num if class_num is not None else (necks or NeckSizes()).get("class_num")
    if classes is not None:
        check_sizes("SeparateBNNecks", necks or NeckSizes(), {"class_num": classes})
        check_positive("class_num" if class_num is not None else "SeparateBNNecks.class_num", classes)
    return classes


class GaitGLHead(nn.Module):
    """A network with GaitGL's head: maximum over time, GeM pooling by strips, separate FCs, and BNNecks or BatchNorm.

    With BNNecks, triplet loss and test use the features before them, and the logits are cosines. Without BNNecks, they
    use the features after a BatchNorm, from which, if the classes are known, further separate FCs compute the logits.
    """

    class_head = ("classifier.fc_bin", "necks.fc_bin")

    def add_head(
        self,
        channels: int,
        bin_num: list[int],
        class_num: int | None,
        necks: NeckSizes | None,
        fcs: FCSizes | None = None,
    ) -> None:
        """Add the layers for maps of C channels, and initialise the network; the constructor calls it last."""
        parts = sum(bin_num)
        self.class_num = number_of_classes(class_num, necks)
        self.pooling = GeMHorizontalPooling(bin_num)
        self.fcs = separate_fcs(fcs, channels, parts)
        width = self.fcs.out_channels
        self.necks: layers.SeparateBNNecks | None = None
        self.classifier: layers.SeparateFCs | None = None
        if necks is not None:
            self.necks = separate_bn_necks(necks, width, parts, self.class_num)
        else:
            self.head_norm = nn.BatchNorm1d(width)
            if self.class_num is not None:
                self.classifier = layers.SeparateFCs(parts, width, self.class_num)
        layers.initialise(self)

    def head(self, maps: torch.Tensor, lengths: torch.Tensor | None) -> GaitOutput:
        """Return the network's output for maps (N, C, S, H, W)."""
        features = self.fcs(self.pooling(layers.temporal_max(maps, lengths)))
        if self.necks is not None:
            logits, after_neck = self.necks(features)
            return GaitOutput(features, logits, features, after_neck)
        features = self.head_norm(features)
        return GaitOutput(features, None if self.classifier is None else self.classifier(features), features)


class BNNeckHead(nn.Module):
    """A network with GaitBase's head: maximum over time, horizontal parts, separate FCs, BNNecks.

    Triplet loss and test use the features before the BNNecks, whose logits are cosines; with `use_emb2` the test uses
    the features after them, of length 1 in each part.
    """

    class_head = ("necks.fc_bin",)
    use_emb2 = False

    def add_head(
        self,
        channels: int,
        bin_num: list[int],
        class_num: int | None,
        necks: NeckSizes | None,
        fcs: FCSizes | None = None,
    ) -> None:
        """Add the layers for maps of C channels, and initialise the network; the constructor calls it last."""
        self.class_num = number_of_classes(class_num, necks)
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = separate_fcs(fcs, channels, sum(bin_num))
        self.necks = separate_bn_necks(necks, self.fcs.out_channels, sum(bin_num), self.class_num)
        layers.initialise(self)

    def head(self, maps: torch.Tensor, counts: Counts) -> GaitOutput:
        """Return the network's output for packed maps (F, C, H, W); `counts` is each sequence's number of frames."""
        embeddings = self.fcs(self.pooling(sequence_max(maps, counts)))
        logits, after_neck = self.necks(embeddings)
        return GaitOutput(embeddings, logits, after_neck if self.use_emb2 else embeddings, after_neck)


def check_sizes(section: str, sizes: Mapping[str, object], expected: Mapping[str, int]) -> None:
    """Raise ValueError where a section sets a size to another value than the other settings require."""
    for key, value in expected.items():
        if sizes.get(key, value) != value:
            raise ValueError(f"{section}.{key}: must be {value} to fit the other settings, got {sizes[key]}")


def check_part_weights(key: str, weights: Sequence[float], parts: int) -> None:
    """Raise ValueError unless there is a non-negative weight for each part, and not all are 0."""
    if len(weights) != parts or min(weights) < 0 or not any(weights):
        raise ValueError(f"{key}: give {parts} numbers of at least 0, not all 0; got {list(weights)}")


def check_positive(key: str, value: int) -> None:
    """Raise ValueError unless a setting is positive."""
    if value < 1:
        raise ValueError(f"{key}: must be at least 1, got {value}")


def check_numbers(key: str, values: Sequence[int], count: int, component: str) -> None:
    """Raise ValueError unless a setting is `count` positive numbers; the message names the component."""
    if len(values) != count or min(values) < 1:
        raise ValueError(f"{key}: {component} takes {count} positive numbers, got {list(values)}")
