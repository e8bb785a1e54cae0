"""Residual blocks against plain loops over output values, one sequence at a time."""

import pytest
import torch

from dygait.modeling.backbones.residual import Mode, ResidualBlock, ResNet9, over_sequences
from helpers.networks import randomise_statistics
from reference.convolutions import convolve_by_strips

COUNTS = [3, 1, 2]


def block(in_channels: int, channels: int, stride: int, mode: Mode) -> ResidualBlock:
    torch.manual_seed(3)
    return randomise_statistics(ResidualBlock(in_channels, channels, stride, mode).double(), 0.3, 1.5).eval()


def normalise(x: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
    """Apply BatchNorm with running statistics to (C, S, H, W)."""
    mean, variance = norm.running_mean, norm.running_var
    scaled = (x - mean[:, None, None, None]) / (variance[:, None, None, None] + 1e-5).sqrt()
    return scaled * norm.weight[:, None, None, None] + norm.bias[:, None, None, None]


def reference_output(module: ResidualBlock, walk: torch.Tensor, stride: int) -> torch.Tensor:
    """Return the output of a block for one sequence (C, S, H, W)."""

    def clip(weight: torch.Tensor) -> torch.Tensor:
        return weight if weight.dim() == 5 else weight.unsqueeze(2)

    weights = dict(module.named_parameters())
    out = convolve_by_strips(walk, clip(weights["conv1.weight"]), 1)[:, :, ::stride, ::stride]
    out = normalise(out, module.bn1).clamp(min=0)
    if module.temporal is not None:
        norm = module.temporal[1]
        branch = normalise(convolve_by_strips(out, weights["temporal.0.weight"], 1), norm)
        out = (out + branch).clamp(min=0)
    out = normalise(convolve_by_strips(out, clip(weights["conv2.weight"]), 1), module.bn2)
    if module.shortcut is not None:
        norm = module.shortcut[1]
        walk = walk[:, :, ::stride, ::stride]
        walk = normalise(convolve_by_strips(walk, clip(weights["shortcut.0.weight"]), 1), norm)
    return (out + walk).clamp(min=0)


@pytest.mark.parametrize("mode", ["2d", "p3d", "3d"])
@pytest.mark.parametrize(("in_channels", "stride"), [(3, 1), (2, 1), (3, 2)], ids=["identity", "wider", "halving"])
def test_equals_the_loops(mode: Mode, in_channels: int, stride: int) -> None:
    module = block(in_channels, 3, stride, mode)
    frames = torch.randn((sum(COUNTS), in_channels, 5, 4), dtype=torch.float64)
    with torch.no_grad():
        outputs = module(frames, COUNTS).split(COUNTS)
        for output, walk in zip(outputs, frames.split(COUNTS), strict=True):
            expected = reference_output(module, walk.transpose(0, 1), stride).transpose(0, 1)
            torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-9)
    assert (module.shortcut is None) == (in_channels == 3 and stride == 1)


@pytest.mark.parametrize("counts", [[2, 2], [2, 1]])
def test_two_frames_in_half_precision_have_a_gradient(counts: list[int]) -> None:
    """On a CPU, PyTorch's own gradient is uninitialised memory."""
    torch.manual_seed(0)
    layer, frames = torch.nn.Conv3d(2, 3, 3, padding=1, bias=False), torch.randn(sum(counts), 2, 4, 4)
    over_sequences(layer, frames, counts).square().sum().backward()
    expected = layer.weight.grad
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        outputs = over_sequences(layer, frames, counts)
        assert outputs.shape == (sum(counts), 3, 4, 4)
        outputs.float().square().sum().backward()
    assert (layer.weight.grad - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("maxpool", [False, True])
@pytest.mark.parametrize("strides", [[1, 2, 2, 1], [2, 1, 1, 2]])
def test_the_shape_of_resnet9(maxpool: bool, strides: list[int]) -> None:
    module = ResNet9(channels=[2, 3, 4, 5], layers=[1, 2, 1, 1], strides=strides, maxpool=maxpool)
    shape = module(torch.zeros(2, 1, 16, 12)).shape
    assert shape[1] == module.out_channels == 5
    assert shape[2] == (2 if maxpool else 4), "each stride and the pooling halve 16 rows"
    assert [len(getattr(module, f"layer{i}")) for i in (1, 2, 3, 4)] == [1, 2, 1, 1]
