"""DyGait.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023,
https://arxiv.org/abs/2303.14953. Where paper and release leave something open, docs/fidelity.md says what we do.
N sequences, C channels, S frames, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from dygait.errors import UserError
from dygait.modeling.backbones.dynamic3d import DeepBackbone, Form, Norm, ShallowBackbone
from dygait.modeling.heads import CLASS_HEAD, GAITGL_HEAD, FCSizes, NeckSizes, Renames, unequal
from dygait.modeling.layers import (
    GeMHorizontalPooling,
    SeparateBNNecks,
    SeparateFCs,
    initialise,
    repeat_short,
    temporal_max,
    valid_frames,
)
from dygait.modeling.output import GaitOutput
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
    ) -> None:
        super().__init__()
        refuse(
            self.problems(channels, variant, bin_num, class_num, SeparateFCs, SeparateBNNecks, norm, dam, input_size)
        )
        self.opengait_names = (*_RELEASE_NAMES[variant], *_RELEASE_STAGES, *GAITGL_HEAD)
        bins = bin_num or _BINS[variant]
        width = channels[-1] if SeparateFCs is None else SeparateFCs["out_channels"]
        self.class_num = SeparateBNNecks["class_num"] if SeparateBNNecks is not None else class_num
        self.backbone = _BACKBONES[variant](channels, norm, dam, checkpointing, dynamic, spatial)
        self.pooling = GeMHorizontalPooling(bins)
        self.fcs = _separate_fcs(sum(bins), channels[-1], width)
        self.necks = None if SeparateBNNecks is None else _bn_necks(**SeparateBNNecks)
        self.head_norm: nn.BatchNorm1d | None = None
        self.classifier: nn.Module | None = None
        if SeparateBNNecks is None:
            self.head_norm = nn.BatchNorm1d(width)
            self.classifier = None if class_num is None else _separate_fcs(sum(bins), width, class_num)
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
    ) -> list[Problem]:
        """Return every reason why a network of these sizes cannot be built."""
        found = []
        backbone = _BACKBONES[variant]
        if len(channels) != backbone.depth or min(channels) < 1:
            found.append(
                Problem(("channels",), f"the {variant} variant takes {backbone.depth} positive numbers, got {channels}")
            )
            return found
        if input_size is not None and (len(input_size) != 2 or min(input_size) < 1):
            found.append(Problem(("input_size",), f"must be [H, W], two positive numbers, got {input_size}"))
            return found
        bins = bin_num or _BINS[variant]
        height, width = input_size or [64, 44]
        rows, columns = height // 2**backbone.pools, width // 2**backbone.pools
        unfit = [b for b in bins if b < 1 or rows % b]
        if unfit or columns < 1:
            found.append(
                Problem(
                    ("bin_num",),
                    f"a {height}x{width} input gives features {rows} rows high, which do not divide into {unfit} "
                    f"strips; choose divisors of {rows}, or another input_size",
                )
            )
        parts, out = sum(bins), channels[-1]
        if SeparateFCs is not None:
            found += unequal("SeparateFCs", dict(SeparateFCs), {"in_channels": out, "parts_num": parts})
            out = SeparateFCs["out_channels"]
        if class_num is not None and class_num < 1:
            found.append(Problem(("class_num",), f"must be at least 1, got {class_num}"))
        if SeparateBNNecks is not None:
            classes = SeparateBNNecks["class_num"] if class_num is None else class_num
            wanted = {"in_channels": out, "parts_num": parts, "class_num": classes}
            found += unequal("SeparateBNNecks", dict(SeparateBNNecks), wanted)
        return found

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Embed sequences.

        Args:
            silhouettes: float (N, S, H, W) in 0..1, S at least 1.
            lengths: (N,), each from 1 to S, best on the host; frames after a sequence's length are ignored. None: all
                have S frames.

        Returns:
            Embeddings (N, C, P), logits (N, K, P) or None, inference features (N, C, P).
        """
        if lengths is not None:
            here = valid_frames(lengths, silhouettes.shape[1]).to(silhouettes.device)
            silhouettes = silhouettes * here[:, :, None, None]
        silhouettes, lengths = repeat_short(silhouettes, lengths)
        lengths = None if lengths is None else lengths.to(silhouettes.device, non_blocking=True)
        features, lengths = self.backbone(silhouettes.unsqueeze(1), lengths)
        rows = features.shape[3]
        if any(rows % b for b in self.pooling.bin_num):
            raise UserError(
                f"model_cfg: silhouettes {silhouettes.shape[2]} high give features {rows} rows high, which do not "
                f"divide into {self.pooling.bin_num} strips; set input_size and bin_num to fit the data"
            )
        parts = self.fcs(self.pooling(temporal_max(features, lengths)))
        if self.necks is not None:
            return GaitOutput(parts, self.necks(parts), parts)
        assert self.head_norm is not None
        normed = self.head_norm(parts)
        logits = None if self.classifier is None else self.classifier(normed)
        return GaitOutput(normed, logits, normed)


# The constructor's keywords are the YAML's keys, two of which are these layers' names.
_separate_fcs = SeparateFCs
_bn_necks = SeparateBNNecks
