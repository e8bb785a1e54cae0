"""Pairs of maps against each map alone, and their memory layout."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.backbones.dynamic3d import ShallowBackbone
from dygait.modeling.dam import DAMOptions, DynamicAugmentation
from dygait.modeling.kernels.map_pairs import norm_pair, rectified_sum
from dygait.modeling.layers import FrameBatchNorm, channels_last, has_channels_last, temporal_max
from dygait.modeling.sync_batch_norm import synchronise_norms

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def maps(n: int = 3, c: int = 6, s: int = 4) -> torch.Tensor:
    return torch.randn(n, c, s, 3, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rectified_sum(layout: torch.memory_format) -> None:
    pair = maps()
    pair[0, 0, 0, 0, 0] = 0.0  # where the gradient of a ReLU is zero
    leaf, plain = (pair.clone(memory_format=layout).requires_grad_() for _ in range(2))
    actual, expected = rectified_sum(leaf), F.relu(plain[:, :3]) + F.relu(plain[:, 3:])
    assert torch.equal(actual, expected)
    assert actual.is_contiguous(memory_format=layout)
    weights = torch.linspace(-1, 1, actual.numel(), dtype=torch.float64).reshape(actual.shape)
    for y in (actual, expected):
        (y * weights).sum().backward()
    assert torch.equal(leaf.grad, plain.grad)
    assert leaf.grad.is_contiguous(memory_format=layout)


def norms(synchronised: bool) -> tuple[FrameBatchNorm, FrameBatchNorm]:
    torch.manual_seed(1)
    pair = FrameBatchNorm(3).double(), FrameBatchNorm(3).double()
    for norm in pair:
        for tensor in (norm.norm.weight, norm.norm.bias, norm.norm.running_mean):
            nn.init.normal_(tensor)
        if synchronised:
            synchronise_norms(norm, torch.device("cpu"))
    return pair


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("synchronised", [False, True])
def test_norms(layout: torch.memory_format, lengths: list[int] | None, training: bool, synchronised: bool) -> None:
    """Values, gradients, running statistics and counts are those of each norm alone over the valid frames."""
    paired, separate = norms(synchronised), norms(False)
    counts = None if lengths is None else torch.tensor(lengths)
    leaf, plain = (maps().clone(memory_format=layout).requires_grad_() for _ in range(2))
    for norm in (*paired, *separate):
        norm.train(training)
    actual = norm_pair(leaf, *paired, counts)
    valid = [plain[n, :, :length] for n, length in enumerate(lengths or [4, 4, 4])]
    packed = torch.cat(valid, 1).unsqueeze(0)  # the valid frames as one sequence
    expected = torch.cat([n.norm(half) for n, half in zip(separate, packed.chunk(2, 1), strict=True)], 1)
    frames = torch.cat([actual[n, :, :length] for n, length in enumerate(lengths or [4, 4, 4])], 1).unsqueeze(0)
    torch.testing.assert_close(frames, expected, atol=1e-12, rtol=1e-12)
    weights = torch.linspace(-1, 1, frames.numel(), dtype=torch.float64).reshape(frames.shape)
    for y in (frames, expected):
        (y * weights).sum().backward()
    torch.testing.assert_close(leaf.grad, plain.grad, atol=1e-12, rtol=1e-12)
    for ours, theirs in zip(paired, separate, strict=True):
        for name, value in theirs.named_parameters():
            torch.testing.assert_close(ours.get_parameter(name).grad, value.grad, atol=1e-12, rtol=1e-12)
        for name, value in theirs.named_buffers():
            torch.testing.assert_close(ours.get_buffer(name), value, atol=1e-12, rtol=1e-12)
        assert int(theirs.norm.num_batches_tracked or 0) == int(training)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last(channels: int) -> None:
    x = maps(2, channels)
    last = channels_last(x)
    assert torch.equal(last, x)
    assert last.stride(1) == 1
    assert has_channels_last(last)
    convolved = F.conv3d(last.float(), torch.randn(4, channels, 3, 3, 3), padding=1)
    assert has_channels_last(convolved)
    assert channels_last(convolved) is convolved, "nothing is copied"


@pytest.mark.parametrize("lengths", [None, [9, 6]])
def test_the_fast_form_keeps_its_layout_forward_and_backward(lengths: list[int] | None) -> None:
    """Otherwise all preceding layers would use another layout."""
    seen, counts = [], None if lengths is None else torch.tensor(lengths)
    network = ShallowBackbone([2, 3, 4], DAMOptions("batch", "fast"))
    for module in network.modules():
        if isinstance(module, DynamicAugmentation):
            module.register_full_backward_hook(
                lambda _, grad_in, grad_out: seen.extend(
                    t for t in (*grad_in, *grad_out) if t is not None and t.dim() > 1
                )
            )
            module.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    features, kept_lengths = network(torch.rand(2, 1, 9, 16, 12), counts)
    temporal_max(features, kept_lengths).square().sum().backward()
    assert len(seen) == 12
    assert all(has_channels_last(tensor) for tensor in seen)
    plain = ShallowBackbone([2, 3, 4], DAMOptions("batch", "plain"))
    assert not has_channels_last(plain(torch.rand(2, 1, 9, 16, 12))[0]), "the plain form keeps the default layout"
