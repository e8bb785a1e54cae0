"""Winograd's minimal filtering over time against PyTorch's convolution."""

import pytest
import torch
import torch.nn.functional as F

from dygait.modeling.kernels import winograd


def with_gradients(
    form: str, x: torch.Tensor, weights: list[torch.Tensor], dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """Return the output of each filter, and the gradients of the input and of each filter."""
    x, *weights = (t.detach().to(dtype).requires_grad_() for t in (x, *weights))
    if form == "winograd":
        outputs = [winograd.convolution(x, winograd.transformed(w)) for w in weights]
    else:
        outputs = [F.conv3d(x, w, padding=1) for w in weights]
    generator = torch.Generator().manual_seed(1)
    torch.autograd.backward(outputs, [torch.randn(y.shape, generator=generator).to(dtype) for y in outputs])
    return [t.detach() for t in outputs] + [t.grad for t in (x, *weights) if t.grad is not None]


def case(n: int, c: int, s: int, out: list[int], h: int = 4, w: int = 3) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(s)
    x = torch.randn((n, c, s, h, w), generator=generator)
    return x, [torch.randn((o, c, 3, 3, 3), generator=generator) / (27 * c) ** 0.5 for o in out]


def compare(actual: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 1e-5) -> None:
    assert len(actual) == len(expected)
    for ours, reference in zip(actual, expected, strict=True):
        assert ours.shape == reference.shape
        assert float(reference.abs().max()) > 0.05
        assert float((ours - reference).abs().max()) <= tolerance * float(reference.abs().max())


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6, 7, 8, 10, 30])
def test_equals_the_convolution(frames: int) -> None:
    x, weights = case(2, 3, frames, [2, 4])
    compare(with_gradients("winograd", x, weights), with_gradients("plain", x, weights, torch.float64))


@pytest.mark.parametrize(("c_in", "c_out"), [(64, 128), (128, 128), (256, 16)])
def test_errors_stay_small_with_many_channels(c_in: int, c_out: int) -> None:
    """After a ReLU the mean is not zero, and the transforms take differences of large numbers."""
    x, weights = case(1, c_in, 10, [c_out], 6, 5)
    compare(with_gradients("winograd", x.relu(), weights), with_gradients("plain", x.relu(), weights, torch.float64))


def test_a_few_sequences_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights = case(5, 2, 6, [3, 2])
    monkeypatch.setattr(winograd, "_VALUES_AT_A_TIME", 2 * 6 * 2 * 12 * 3)
    assert winograd._sequences_at_a_time(x.shape, 3) == 2
    compare(with_gradients("winograd", x, weights), with_gradients("plain", x, weights, torch.float64))


@pytest.mark.parametrize("which", ["input", "filter"])
def test_only_the_required_gradient(which: str) -> None:
    x, (weight,) = case(2, 3, 5, [4])
    leaf = (x if which == "input" else weight).requires_grad_()
    winograd.convolution(x, winograd.transformed(weight)).square().sum().backward()
    gradient, leaf.grad = leaf.grad, None
    F.conv3d(x, weight, padding=1).square().sum().backward()
    torch.testing.assert_close(gradient, leaf.grad, atol=1e-4, rtol=1e-5)


def test_is_faster() -> None:
    x = torch.zeros(1, 64, 4, 1, 1)
    assert winograd.is_faster(x, 128)
    assert not winograd.is_faster(x, 64), "too few channels"
    assert not winograd.is_faster(x[:, :32], 256), "too few channels"
    assert not winograd.is_faster(x[:, :, :3], 128), "too few frames"
    assert not winograd.is_faster(x.double(), 128), "not float32"
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.is_faster(x, 128), "not float32 under autocast"
