"""GaitSSB: pre-training without labels, and fine-tuning.

Fan et al., *Learning Gait Representation from Massive Unlabelled Walking Videos: A Benchmark*, TPAMI 2023,
https://arxiv.org/abs/2206.13964. N sequences, C channels, S frames, H x W pixels, P parts; two views of each sequence.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from dygait.modeling.backbones.residual import ResNet9
from dygait.modeling.frames import Frames, pack, sequence_max, stack_channels
from dygait.modeling.layers import SeparateFCs, channels_last, initialise
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS, build_backbone

_BINS = [16, 8, 4, 2, 1]
_VIEWS = 2
Rate = Annotated[float, Field(ge=0)]


class _PartBatchNorm(nn.Module):
    """BatchNorm over C x P jointly."""

    def __init__(self, parts: int, channels: int) -> None:
        super().__init__()
        self.bn1d = nn.BatchNorm1d(channels * parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, P) for the same."""
        return self.bn1d(x.flatten(1)).reshape(x.shape)


class _CosineFCs(SeparateFCs):
    """Separate FCs whose columns have length 1, which for parts of length 1 compute cosines."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C_out, P) for (N, C_in, P)."""
        return torch.einsum("ncp,pco->nop", x, F.normalize(self.fc_bin, dim=1))


def _perceptron(parts: int, channels: int) -> list[nn.Module]:
    """Return the layers of a separate two-layer perceptron for each part."""
    first, last = (SeparateFCs(parts, channels, channels) for _ in range(2))
    return [first, _PartBatchNorm(parts, channels), nn.ReLU(inplace=True), last]


class _Encoder(nn.Module):
    """ResNet9 on each frame, maximum over time, horizontal parts, and a projection of each part."""

    opengait_names = ResNet9.opengait_names

    def __init__(self, backbone_cfg: dict[str, Any], parts_num: int | None, bin_num: list[int]) -> None:
        super().__init__()
        parts = sum(bin_num)
        if parts_num not in (None, parts):
            raise ValueError(f"parts_num: must be {parts}, the sum of bin_num, got {parts_num}")
        self.backbone = build_backbone(backbone_cfg, ResNet9)
        self.in_channels: int = backbone_cfg.get("in_channel", 1)
        self.pooling = HorizontalPooling(bin_num)
        channels = self.backbone.out_channels
        self.projector = nn.Sequential(*_perceptron(parts, channels), _PartBatchNorm(parts, channels))

    def project(self, frames: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return projections (N, C, P) for frames (N, S, C_in, H, W)."""
        packed, counts = pack(frames, lengths)
        maps = self.backbone(channels_last(packed))
        return self.projector(self.pooling(sequence_max(maps, counts)))


@MODELS.register("GaitSSB_Pretrain")
class GaitSSBPretrain(_Encoder):
    """Pre-training: predict the projection of one view of a sequence from another, contrasted with other sequences.

    A training batch is one view of each of its sequences, then another of each, in the same order, as
    `BilateralSampler` gives. Each view is normalised with its own BatchNorm statistics. Cross entropy reads the cosines
    of the predictions of a view with the detached projections of the other views of all sequences. A test compares the
    predictions.

    Args:
        backbone_cfg: `type: ResNet9`, and its keywords.
        parts_num: P, the sum of `bin_num`.
        bin_num: numbers of horizontal strips.
    """

    views = _VIEWS

    def __init__(self, backbone_cfg: dict[str, Any], parts_num: int | None = None, bin_num: list[int] = _BINS) -> None:
        super().__init__(backbone_cfg, parts_num, bin_num)
        self.predictor = nn.Sequential(*_perceptron(sum(bin_num), self.backbone.out_channels))
        initialise(self)

    def forward(self, silhouettes: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), whose parts have length 1; in training also predictions and targets.

        Raises:
            ValueError: in training, N is odd.
        """
        frames = stack_channels(silhouettes, self.in_channels)
        if not self.training:
            embeddings = F.normalize(self.predictor(self.project(frames, lengths)), dim=1)
            return GaitOutput(embeddings, None, embeddings)
        if len(frames) % _VIEWS:
            raise ValueError(f"a batch of {len(frames)} cannot be two views of each of its sequences")
        view_lengths = [None] * _VIEWS if lengths is None else lengths.chunk(_VIEWS)
        projections = [self.project(*view) for view in zip(frames.chunk(_VIEWS), view_lengths, strict=True)]
        predictions = [self.predictor(projection) for projection in projections]
        embeddings = F.normalize(torch.cat(predictions), dim=1)
        targets = torch.stack(projections[::-1], 1).detach()
        return GaitOutput(embeddings, None, embeddings, predictions=torch.stack(predictions, 1), targets=targets)


@MODELS.register("GaitSSB_Finetune")
class GaitSSBFinetune(_Encoder):
    """Fine-tuning: cosines of the pre-trained projections with the columns of a new head, for triplet loss and test.

    The first convolution and its BatchNorm are frozen.

    Args:
        backbone_cfg: `type: ResNet9`, and its keywords.
        backbone_lr: learning rates of the four stages; 0: frozen.
        projector_lr: learning rate of the projections. That of the head is `optimizer_cfg.lr`.
        parts_num: P, the sum of `bin_num`.
        bin_num: numbers of horizontal strips.
    """

    least_lr = 1e-4

    def __init__(
        self,
        backbone_cfg: dict[str, Any],
        backbone_lr: Annotated[list[Rate], Field(min_length=4, max_length=4)],
        projector_lr: Annotated[float, Field(gt=0)],
        parts_num: int | None = None,
        bin_num: list[int] = _BINS,
    ) -> None:
        super().__init__(backbone_cfg, parts_num, bin_num)
        channels = self.backbone.out_channels
        self.head0 = _CosineFCs(sum(bin_num), channels, channels)
        initialise(self)
        rates = {"conv1": 0.0, "bn1": 0.0, **{f"layer{n}": rate for n, rate in enumerate(backbone_lr, 1)}}
        for name, rate in rates.items():
            self.backbone.get_submodule(name).requires_grad_(rate > 0)
        trained = {f"backbone.{name}": rate for name, rate in rates.items() if rate}
        trained["projector"] = projector_lr
        self.param_groups = [{"match": f"{name}.*", "lr": rate} for name, rate in trained.items()]

    def forward(self, silhouettes: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), which are cosines, no logits, inference features: the embeddings."""
        frames = stack_channels(silhouettes, self.in_channels)
        embeddings = self.head0(F.normalize(self.project(frames, lengths), dim=1))
        return GaitOutput(embeddings, None, embeddings)
