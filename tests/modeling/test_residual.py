"""The residual blocks against plain loops over output values, sequence by sequence."""

import pytest
import torch

from dygait.modeling.backbones.residual import Mode, ResidualBlock, ResNet9, over_sequences
from reference.convolutions import convolve_by_strips

COUNTS = [3, 1, 2]


def block(in_channels: int, channels: int, stride: int, mode: Mode) -> ResidualBlock:
    torch.manual_seed(3)
    made = ResidualBlock(in_channels, channels, stride, mode).double()
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return made.eval()


def normalise(x: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
    """BatchNorm with running statistics, (C, S, H, W)."""
    mean, variance = norm.running_mean, norm.running_var
    scaled = (x - mean[:, None, None, None]) / (variance[:, None, None, None] + 1e-5).sqrt()
    return scaled * norm.weight[:, None, None, None] + norm.bias[:, None, None, None]


def slow(made: ResidualBlock, walk: torch.Tensor, stride: int) -> torch.Tensor:
    """A block on one sequence (C, S, H, W)."""

    def clip(weight: torch.Tensor) -> torch.Tensor:
        return weight if weight.dim() == 5 else weight.unsqueeze(2)

    weights = dict(made.named_parameters())
    out = convolve_by_strips(walk, clip(weights["conv1.weight"]), 1)[:, :, ::stride, ::stride]
    out = normalise(out, made.bn1).clamp(min=0)
    if made.temporal is not None:
        norm = made.temporal[1]
        branch = normalise(convolve_by_strips(out, weights["temporal.0.weight"], 1), norm)
        out = (out + branch).clamp(min=0)
    out = normalise(convolve_by_strips(out, clip(weights["conv2.weight"]), 1), made.bn2)
    if made.shortcut is not None:
        norm = made.shortcut[1]
        walk = walk[:, :, ::stride, ::stride]
        walk = normalise(convolve_by_strips(walk, clip(weights["shortcut.0.weight"]), 1), norm)
    return (out + walk).clamp(min=0)


@pytest.mark.parametrize("mode", ["2d", "p3d", "3d"])
@pytest.mark.parametrize(("in_channels", "stride"), [(3, 1), (2, 1), (3, 2)], ids=["identity", "wider", "halving"])
def test_equals_the_loops(mode: Mode, in_channels: int, stride: int) -> None:
    made = block(in_channels, 3, stride, mode)
    frames = torch.randn((sum(COUNTS), in_channels, 5, 4), dtype=torch.float64)
    with torch.no_grad():
        found = made(frames, COUNTS).split(COUNTS)
        for own, walk in zip(found, frames.split(COUNTS), strict=True):
            expected = slow(made, walk.transpose(0, 1), stride).transpose(0, 1)
            torch.testing.assert_close(own, expected, atol=1e-12, rtol=1e-9)
    assert (made.shortcut is None) == (in_channels == 3 and stride == 1)


@pytest.mark.parametrize("counts", [[2, 2], [2, 1]])
def test_two_frames_in_half_precision_have_a_gradient(counts: list[int]) -> None:
    """On a CPU, PyTorch makes it of memory that nobody has written."""
    torch.manual_seed(0)
    layer, frames = torch.nn.Conv3d(2, 3, 3, padding=1, bias=False), torch.randn(sum(counts), 2, 4, 4)
    over_sequences(layer, frames, counts).square().sum().backward()
    whole = layer.weight.grad
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        found = over_sequences(layer, frames, counts)
        assert found.shape == (sum(counts), 3, 4, 4)
        found.float().square().sum().backward()
    assert (layer.weight.grad - whole).abs().max() < 0.05 * whole.abs().max()


@pytest.mark.parametrize("maxpool", [False, True])
@pytest.mark.parametrize("strides", [[1, 2, 2, 1], [2, 1, 1, 2]])
def test_the_map_of_resnet9(maxpool: bool, strides: list[int]) -> None:
    made = ResNet9(channels=[2, 3, 4, 5], layers=[1, 2, 1, 1], strides=strides, maxpool=maxpool)
    found = made(torch.zeros(2, 1, 16, 12)).shape
    assert found[1] == made.out_channels == 5
    assert found[2] == (2 if maxpool else 4), "each stride and the pooling halve 16 rows"
    assert [len(getattr(made, f"layer{i}")) for i in (1, 2, 3, 4)] == [1, 2, 1, 1]
