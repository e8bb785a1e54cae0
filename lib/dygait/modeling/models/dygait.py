"""DyGait.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023,
https://arxiv.org/abs/2303.14953. docs/fidelity.md lists our choices where paper and release are ambiguous.
N sequences, C channels, S frames, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from dygait.modeling.backbones.dynamic3d import DeepBackbone, ShallowBackbone
from dygait.modeling.dam import DAMOptions, Form, Norm, Shortcut
from dygait.modeling.heads import GAITGL_NAMES, FCSizes, GaitGLHead, NeckSizes, Renames, check_numbers
from dygait.modeling.layers import whole_sequences
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS

_BACKBONES: dict[str, type[DeepBackbone] | type[ShallowBackbone]] = {"deep": DeepBackbone, "shallow": ShallowBackbone}
_BINS = {"deep": [16, 8, 4, 2, 1], "shallow": [32]}
_RELEASE_NAMES: dict[str, Renames] = {  # names of the authors' release, which is based on OpenGait
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
class DyGait(GaitGLHead):
    """The network of the paper: a backbone of DAMs, temporal max, GeM horizontal pooling, separate FCs, and a head.

    Args:
        channels: numbers of channels of the backbone: four for `deep`, three for `shallow`.
        variant: `deep` (OUMVLP, GREW, Gait3D) or `shallow` (CASIA-B).
        bin_num: numbers of horizontal strips; default [16, 8, 4, 2, 1] for `deep`, [32] for `shallow`.
        class_num: K, the number of training ids; without it, and without `SeparateBNNecks`, there are no logits.
        SeparateFCs: the sizes of the separate FCs, unless they map C to C channels.
        SeparateBNNecks: the sizes of the BNNeck head; without it, the network has GaitGL's head.
        norm: `none`, as in the release, or `batch`: BatchNorm inside the DAMs.
        dam: implementation of the DAMs: `fast`, or `plain`, the readable reference; same weights, same results.
        checkpointing: recompute each DAM in the backward pass instead of saving its activations: less memory, about a
            third more time, the same gradients.
        dynamic: for ablations. False: the dynamic branch of every DAM convolves the features without subtracting their
            mean; the number of parameters is the same.
        spatial: for ablations. False: the DAMs have no spatial branch, and so fewer parameters.
        shortcut: `where needed`: a 1x1x1 convolution in the DAMs whose numbers of channels differ, the identity in the
            others; `always`: a convolution in every DAM, as in the network whose cost was published (docs/fidelity.md).
    """

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
        checkpointing: bool = False,
        dynamic: bool = True,
        spatial: bool = True,
        shortcut: Shortcut = "where needed",
    ) -> None:
        super().__init__()
        self.opengait_names = (*_RELEASE_NAMES[variant], *_RELEASE_STAGES, *GAITGL_NAMES)
        backbone = _BACKBONES[variant]
        check_numbers("channels", channels, backbone.depth, f"the {variant} variant")
        self.backbone = backbone(channels, DAMOptions(norm, dam, checkpointing, dynamic, spatial, shortcut))
        self.add_head(channels[-1], bin_num or _BINS[variant], class_num, SeparateBNNecks, SeparateFCs)

    @staticmethod
    def chosen_by_dataset(dataset_name: str | None) -> dict[str, Any]:
        """Return the variant that the release uses for a dataset."""
        if dataset_name is None:
            return {}
        return {"variant": "deep" if dataset_name in ("OUMVLP", "GREW", "Gait3D", "Gait3D-128pixel") else "shallow"}

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P) or None, inference features (N, C, P)."""
        silhouettes, lengths = whole_sequences(silhouettes, lengths)
        return self.head(*self.backbone(silhouettes.unsqueeze(1), lengths))
