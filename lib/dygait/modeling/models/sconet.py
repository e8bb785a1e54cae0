"""ScoNet.

Zhou et al., *Gait Patterns as Biomarkers: A Video-Based Approach for Classifying Scoliosis*, MICCAI 2024,
https://arxiv.org/abs/2407.05726. N sequences, S frames, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

import torch

from dygait.modeling.frames import Frames
from dygait.modeling.models.gaitbase import GaitBase
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS


@MODELS.register("ScoNet")
class ScoNet(GaitBase):
    """GaitBase with diagnoses as classes, and logits as inference features.

    The classes are those of the protocol (`Scoliosis1K`: negative, neutral, positive); the triplet loss compares
    subjects.

    Args:
        backbone_cfg: as GaitBase's.
        SeparateFCs: as GaitBase's.
        SeparateBNNecks: as GaitBase's.
        bin_num: as GaitBase's.
        class_num: K, the number of the protocol's classes, unless `SeparateBNNecks` sets it.
    """

    def forward(self, silhouettes: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features: the logits."""
        output = super().forward(silhouettes, lengths)
        assert output.logits is not None
        return GaitOutput(output.embeddings, output.logits, output.logits, output.after_neck)
