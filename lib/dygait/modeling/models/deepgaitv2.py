"""DeepGaitV2.

Fan et al., *Exploring Deep Models for Practical Gait Recognition*, 2023, https://arxiv.org/abs/2303.03301.
N sequences, C channels, S frames, F frames in all, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

import torch
from pydantic import ConfigDict, with_config
from torch import nn
from typing_extensions import TypedDict

from dygait.modeling.backbones.residual import Mode, residual_stage
from dygait.modeling.frames import pack, sequence_max
from dygait.modeling.heads import Renames, size_problems, strip_problems
from dygait.modeling.kernels.batch_norm import BatchNorm2d
from dygait.modeling.layers import SeparateBNNecks, SeparateFCs, channels_last, initialise
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS
from dygait.registry import Problem, refuse

_BINS = [16]


@with_config(ConfigDict(extra="forbid", strict=True))
class BackboneSizes(TypedDict):
    """The backbone's kind of blocks and its sizes, as OpenGait's configs give them."""

    mode: Mode
    in_channels: int
    layers: list[int]
    channels: list[int]


@with_config(ConfigDict(extra="forbid", strict=True))
class Classes(TypedDict):
    """The number of classes of the BNNecks; their other sizes follow."""

    class_num: int


@MODELS.register("DeepGaitV2")
class DeepGaitV2(nn.Module):
    """A deeper residual network of sequences, the largest value over time, horizontal parts, BNNecks.

    A convolution and four stages, two of which halve the map. The first stage looks at each frame alone, the others as
    `mode` says: `2d` the same, `3d` at three frames at once, `p3d` at a frame and, in a branch, at three.

    Args:
        Backbone: mode; in_channels (1); layers, the blocks of each stage: [1, 1, 1, 1] or [1, 4, 4, 1]; channels of
            each stage.
        SeparateBNNecks: class_num, the number of training ids.
        use_emb2: test on the features after the BNNecks, of length 1 in each part, not on those before them.
        bin_num: numbers of horizontal strips.
        input_size: [H, W] of the silhouettes that will come, for which `bin_num` is checked. Absent: the data is asked.

    Raises:
        UserError: the sizes do not fit together.
    """

    class_head = ("necks.fc_bin",)

    def __init__(
        self,
        Backbone: BackboneSizes,
        SeparateBNNecks: Classes,
        use_emb2: bool = False,
        bin_num: list[int] = _BINS,
        input_size: list[int] | None = None,
    ) -> None:
        super().__init__()
        refuse(self.problems(Backbone, SeparateBNNecks, use_emb2, bin_num, input_size))
        mode, channels, layers = Backbone["mode"], Backbone["channels"], Backbone["layers"]
        self.class_num = SeparateBNNecks["class_num"]
        self.use_emb2 = use_emb2
        self.opengait_names = (*_LAYER_NAMES, *_BLOCK_NAMES[mode], *_HEAD_NAMES)
        first = nn.Conv2d(1, channels[0], 3, padding=1, bias=False)
        self.layer0 = nn.Sequential(first, BatchNorm2d(channels[0]), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(*residual_stage(channels[0], channels[0], layers[0], 1))
        self.layer2 = nn.ModuleList(residual_stage(channels[0], channels[1], layers[1], 2, mode))
        self.layer3 = nn.ModuleList(residual_stage(channels[1], channels[2], layers[2], 2, mode))
        self.layer4 = nn.ModuleList(residual_stage(channels[2], channels[3], layers[3], 1, mode))
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = SeparateFCs(sum(bin_num), channels[3], channels[2])
        self.necks = _bn_necks(sum(bin_num), channels[2], self.class_num)
        initialise(self)

    @staticmethod
    def problems(
        Backbone: BackboneSizes,
        SeparateBNNecks: Classes,
        use_emb2: bool = False,
        bin_num: list[int] = _BINS,
        input_size: list[int] | None = None,
    ) -> list[Problem]:
        """Return every reason why a network of these sizes cannot be built."""
        found = size_problems(input_size)
        for key, given in (("channels", Backbone["channels"]), ("layers", Backbone["layers"])):
            if len(given) != 4 or min(given) < 1:
                message = f"takes four positive numbers, one for each stage, got {given}"
                found.append(Problem(("Backbone", key), message))
        if Backbone["in_channels"] != 1:
            message = f"silhouettes have 1 channel, got {Backbone['in_channels']}"
            found.append(Problem(("Backbone", "in_channels"), message))
        if SeparateBNNecks["class_num"] < 1:
            message = f"must be at least 1, got {SeparateBNNecks['class_num']}"
            found.append(Problem(("SeparateBNNecks", "class_num"), message))
        if input_size is not None and not found:
            found += strip_problems(bin_num, input_size, (input_size[0] + 3) // 4)
        return found

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Embed sequences.

        Args:
            silhouettes: float (N, S, H, W) in 0..1, S at least 1.
            lengths: (N,), each from 1 to S; frames after a sequence's length are ignored. None: all have S frames.

        Returns:
            Embeddings (N, C, P), logits (N, K, P), inference features (N, C, P).
        """
        frames, counts = pack(silhouettes, lengths)
        x = self.layer1(self.layer0(channels_last(frames.unsqueeze(1))))  # (F, c0, H, W)
        for stage in (self.layer2, self.layer3, self.layer4):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x, counts)
        embeddings = self.fcs(self.pooling(sequence_max(x, counts)))
        features = self.necks.features(embeddings)
        return GaitOutput(embeddings, self.necks.logits(features), features if self.use_emb2 else embeddings)


_LAYER_NAMES: Renames = (
    (r"^(layer[01])\.", r"\1.forward_block."),
    (r"\.shortcut\.", ".downsample."),
)
_BLOCK_NAMES: dict[Mode, Renames] = {
    "2d": ((r"^(layer[234])\.", r"\1.forward_block."),),
    "p3d": (
        (r"^(layer[234]\.\d+)\.conv([12])\.", r"\1.conv\2.forward_block.0."),
        (r"^(layer[234]\.\d+)\.bn([12])\.", r"\1.conv\2.forward_block.1."),
        (r"\.temporal\.0\.", ".shortcut3d."),
        (r"\.temporal\.1\.", ".sbn."),
    ),
    "3d": (),
}
_HEAD_NAMES: Renames = ((r"^fcs\.", "FCs."), (r"^necks\.", "BNNecks."))

_bn_necks = SeparateBNNecks  # the constructor's keyword, a key of the YAML, has the layer's name
