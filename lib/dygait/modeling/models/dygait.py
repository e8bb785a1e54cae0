"""DyGait.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023,
https://arxiv.org/abs/2303.14953. Where paper and release leave something open, docs/fidelity.md says what we do.
N sequences, C channels, S frames, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from dygait.modeling.backbones.dynamic3d import DeepBackbone, ShallowBackbone
from dygait.modeling.dam import DAMOptions, Form, Norm, Shortcut
from dygait.modeling.heads import (
    CLASS_HEAD,
    DEFAULT_SIZE,
    GAITGL_HEAD,
    FCSizes,
    NeckSizes,
    Renames,
    class_problems,
    gaitgl_head,
    gaitgl_output,
    size_problems,
    strip_problems,
    unequal,
)
from dygait.modeling.layers import GeMHorizontalPooling, SeparateFCs, initialise, temporal_max, whole_sequences
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import refuse_unfit_rows
from dygait.modeling.registry import MODELS
from dygait.registry import Problem, refuse

_BACKBONES: dict[str, type[DeepBackbone] | type[ShallowBackbone]] = {"deep": DeepBackbone, "shallow": ShallowBackbone}
_BINS = {"deep": [16, 8, 4, 2, 1], "shallow": [32]}
_RELEASE_NAMES: dict[str, Renames] = {  # of the authors' release, which is of OpenGait's form
    "deep": ((r"^backbone\.dam(\d)\.", r"conv3d\1."),),
    "shallow": (
        (r"^backbone\.conv0\.", "conv3d.0.conv3d."),
        (r"^backbone\.dam([01])\.", r"GLConvA\1."),
        (r"^backbone\.dam2\.", "GLConvB2."),
    ),
}
_RELEASE_STAGES: Renames = (
    (r"\.stage([12])\.conv_([gds])[a-z]+\.", r".conv\1\2."),
    (r"^backbone\.lta\.conv\.", "LTA.0.conv3d."),
)


@MODELS.register("DyGait", "Dygait")
class DyGait(nn.Module):
    """The network of the paper: a backbone of DAMs, temporal max, GeM horizontal pooling, separate FCs, and a head.

    Two heads. With `SeparateBNNecks`: triplet loss and test use the features before the BNNeck, whose logits are
    cosines. Without: GaitGL's, whose features after a BatchNorm serve triplet loss, test and a further separate FC to
    the logits.

    Args:
        channels: the backbone's channels: four for `deep`, three for `shallow`.
        variant: `deep` (OUMVLP, GREW, Gait3D) or `shallow` (CASIA-B).
        bin_num: numbers of horizontal strips; default [16, 8, 4, 2, 1] for `deep`, [32] for `shallow`.
        class_num: K, the number of training ids; without it, and without `SeparateBNNecks`, there are no logits.
        SeparateFCs: the sizes of the separate FCs, where they are not C to C.
        SeparateBNNecks: the sizes of the BNNeck head; its presence chooses that head.
        norm: `none`, as in the release, or `batch`: BatchNorm inside the DAMs.
        dam: how the DAMs compute: `fast`, or `plain`, the readable reference; same weights, same results.
        input_size: [H, W] of the silhouettes that will come, for which `bin_num` is checked.
        checkpointing: compute each DAM again in the backward pass instead of keeping what it made: less memory, about a
            third more time, the same gradients.
        dynamic: for ablations. False: the dynamic branch of every DAM sees the features themselves, with no mean
            subtracted: an equal-sized twin with the same parameters.
        spatial: for ablations. False: the DAMs have no spatial branch, and so fewer parameters.
        shortcut: `where needed`: a 1x1x1 convolution in the DAMs whose numbers of channels differ, the identity in the
            others; `always`: the convolution in every DAM, as in the network of the published cost (docs/fidelity.md).

    Raises:
        UserError: the sizes do not fit together.
    """

    class_head = CLASS_HEAD

    def __init__(
        self,
        channels: list[int],
        variant: Literal["deep", "shallow"] = "deep",
        bin_num: list[int] | None = None,
        class_num: int | None = None,
        SeparateFCs: FCSizes | None = None,
        SeparateBNNecks: NeckSizes | None = None,
        norm: Norm = "none",
        dam: Form = "fast",
        input_size: list[int] | None = None,
        checkpointing: bool = False,
        dynamic: bool = True,
        spatial: bool = True,
        shortcut: Shortcut = "where needed",
    ) -> None:
        super().__init__()
        refuse(
            self.problems(channels, variant, bin_num, class_num, SeparateFCs, SeparateBNNecks, norm, dam, input_size)
        )
        self.opengait_names = (*_RELEASE_NAMES[variant], *_RELEASE_STAGES, *GAITGL_HEAD)
        bins = bin_num or _BINS[variant]
        width = channels[-1] if SeparateFCs is None else SeparateFCs["out_channels"]
        self.class_num = SeparateBNNecks["class_num"] if SeparateBNNecks is not None else class_num
        self.backbone = _BACKBONES[variant](channels, DAMOptions(norm, dam, checkpointing, dynamic, spatial, shortcut))
        self.pooling = GeMHorizontalPooling(bins)
        self.fcs = _separate_fcs(sum(bins), channels[-1], width)
        self.necks, self.head_norm, self.classifier = gaitgl_head(width, sum(bins), class_num, SeparateBNNecks)
        initialise(self)

    @staticmethod
    def chosen_by_dataset(dataset_name: str | None) -> dict[str, Any]:
        """Return the variant that the release chooses by the dataset's name."""
        if dataset_name is None:
            return {}
        return {"variant": "deep" if dataset_name in ("OUMVLP", "GREW", "Gait3D", "Gait3D-128pixel") else "shallow"}

    @staticmethod
    def problems(
        channels: list[int],
        variant: str = "deep",
        bin_num: list[int] | None = None,
        class_num: int | None = None,
        SeparateFCs: FCSizes | None = None,
        SeparateBNNecks: NeckSizes | None = None,
        norm: str = "none",
        dam: str = "fast",
        input_size: list[int] | None = None,
        checkpointing: bool = False,
        dynamic: bool = True,
        spatial: bool = True,
        shortcut: str = "where needed",
    ) -> list[Problem]:
        """Return every reason why a network of these sizes cannot be built."""
        backbone = _BACKBONES[variant]
        if len(channels) != backbone.depth or min(channels) < 1:
            wanted = f"the {variant} variant takes {backbone.depth} positive numbers, got {channels}"
            return [Problem(("channels",), wanted)]
        found = size_problems(input_size)
        if found:
            return found
        bins = bin_num or _BINS[variant]
        rows, columns = (pixels // 2**backbone.pools for pixels in input_size or DEFAULT_SIZE)
        found = strip_problems(bins, input_size, rows, columns)
        parts, out = sum(bins), channels[-1]
        if SeparateFCs is not None:
            found += unequal("SeparateFCs", dict(SeparateFCs), {"in_channels": out, "parts_num": parts})
            out = SeparateFCs["out_channels"]
        return found + class_problems(class_num, SeparateBNNecks, out, parts)

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Embed sequences.

        Args:
            silhouettes: float (N, S, H, W) in 0..1, S at least 1.
            lengths: (N,), each from 1 to S, best on the host; frames after a sequence's length are ignored. None: all
                have S frames.

        Returns:
            Embeddings (N, C, P), logits (N, K, P) or None, inference features (N, C, P).
        """
        silhouettes, lengths = whole_sequences(silhouettes, lengths)
        features, lengths = self.backbone(silhouettes.unsqueeze(1), lengths)
        refuse_unfit_rows(features.shape[3], self.pooling.bin_num, silhouettes.shape[2])
        parts = self.fcs(self.pooling(temporal_max(features, lengths)))
        return gaitgl_output(parts, (self.necks, self.head_norm, self.classifier))


_separate_fcs = SeparateFCs  # the constructor's keyword, a key of the YAML, has the layer's name
