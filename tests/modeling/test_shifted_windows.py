"""Shifted windows of packed sequences of any lengths against torchvision's blocks for each sequence alone."""

import pytest
import torch
from torch import nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

from dygait.modeling.frames import pack
from dygait.modeling.shifted_windows import ShiftedWindows, arrange

LENGTHS = [5, 1, 3, 6, 2, 4, 30]


def reference_output(model: ShiftedWindows, sequence: torch.Tensor) -> torch.Tensor:
    """Return (2 C, H / 2, W / 2) of one sequence (S, C_in, H, W), by torchvision's blocks."""

    def run(blocks: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        for block in blocks:
            attention = block.attn
            reference = SwinTransformerBlock(
                x.shape[-1], attention.num_heads, [3, 3, 5], attention.shift_size, attn_layer=ShiftedWindowAttention3d
            ).to(x)
            reference.load_state_dict(block.state_dict())
            x = reference.eval()(x)
        return x

    tokens = model.patch_norm(model.patch_embed(sequence.transpose(0, 1)).movedim(0, 3))
    return model.norm(run(model.stage2, model.widen(run(model.stage1, tokens[None])))).amax(1)[0].movedim(2, 0)


@pytest.fixture
def model() -> ShiftedWindows:
    """A network with two blocks in each stage and random parameters, norms and biases included."""
    torch.manual_seed(0)
    network = ShiftedWindows(3, 16, [2, 2]).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    return network


@torch.no_grad()
def test_equals_torchvision(model: ShiftedWindows) -> None:
    frames = torch.randn(len(LENGTHS), max(LENGTHS), 3, 30, 20, dtype=torch.float64)
    outputs = model(*pack(frames, torch.tensor(LENGTHS)))
    for row, (sequence, length) in enumerate(zip(frames, LENGTHS, strict=True)):
        torch.testing.assert_close(outputs[row], reference_output(model, sequence[:length]), rtol=0, atol=1e-11)


def test_stochastic_depth_drops_whole_sequences(model: ShiftedWindows) -> None:
    block, x = model.train().stage2[1], torch.randn(24, 15, 10, 32, dtype=torch.float64)
    block.stochastic_depth.p = 0.5
    counts = [1, 2, 3] * 4
    torch.manual_seed(0)
    changed = (block(x, arrange(counts, 15, 10, (1, 1, 2)), len(counts)) != x).flatten(1).any(1)
    changed_frames = [frames.tolist() for frames in changed.split(counts)]
    assert changed_frames == [[frames[0]] * len(frames) for frames in changed_frames]
    assert 0 < sum(frames[0] for frames in changed_frames) < len(counts)
