"""BatchNorm of channels-last maps against PyTorch's in float64, and its error against that of PyTorch's kernel."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.kernels import batch_norm as kernel
from dygait.modeling.kernels.map_pairs import norm_pair
from dygait.modeling.layers import FrameBatchNorm
from dygait.modeling.sync_batch_norm import synchronise_norms

Results = dict[str, torch.Tensor]
LAYOUTS = {3: torch.contiguous_format, 4: torch.channels_last, 5: torch.channels_last_3d}


def make_inputs(shape: tuple[int, ...], mean: float, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Return a map and a gradient that depends on it, in `dtype`, and weight and bias."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(shape, generator=generator)
    gradient = torch.randn(shape, generator=generator) + 0.3 * noise + 0.1
    weight, bias = torch.rand(2, shape[1], generator=generator) + 0.5
    return (noise + mean).to(dtype), gradient.to(dtype), weight, bias


def results(function: Any, x: torch.Tensor, gradient: torch.Tensor, *affine: torch.Tensor) -> Results:
    x, weight, bias = (t.detach().clone().requires_grad_() for t in (x, *affine))
    mean, variance = torch.zeros_like(affine[0]), torch.ones_like(affine[0])
    y = function(x, mean, variance, weight, bias, True, 0.25, 1e-5)
    y.backward(gradient)
    grads = {"x": x.grad, "weight": weight.grad, "bias": bias.grad}
    return {"y": y.detach(), "mean": mean, "variance": variance, **grads}


def errors(actual: Results, expected: Results) -> dict[str, float]:
    """Return the largest error of each result, relative to its largest value (at least 1 for the mean)."""
    scales = {k: float(e.abs().max()) for k, e in expected.items()}
    scales["mean"] = max(scales["mean"], 1.0)
    return {k: float((actual[k].double() - e).abs().max()) / scales[k] for k, e in expected.items()}


SHAPES = [
    (30, 64, 64, 44),
    (8, 64, 10, 64, 22),
    (4, 512, 8, 5),
    (20, 512, 16, 11),
    (90, 3, 31, 30),
    (7, 16, 5, 5),
    (2, 3, 7, 3),
    (5, 48, 3, 4, 2),
    (3, 1500, 4, 2),
    (2, 1, 9, 9),
]


@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_precise_as_the_contiguous_kernel(shape: tuple[int, ...], mean: float) -> None:
    x, gradient, weight, bias = make_inputs(shape, mean)
    expected = results(F.batch_norm, *(t.double() for t in (x, gradient, weight, bias)))
    plain = errors(results(F.batch_norm, x, gradient, weight, bias), expected)
    layout = LAYOUTS[x.dim()]
    x, gradient = (t.contiguous(memory_format=layout) for t in (x, gradient))
    assert kernel.is_supported(x) or x.is_contiguous()
    actual = results(kernel.batch_norm, x, gradient, weight, bias)
    for name, error in errors(actual, expected).items():
        assert error < 10 * max(plain[name], 2**-24), (name, error, plain[name])  # 2^-24: half a unit in the last place
    assert actual["y"].is_contiguous(memory_format=layout)
    assert actual["x"].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("shape", SHAPES[5:], ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_equal_in_float64(shape: tuple[int, ...], affine: bool) -> None:
    x, gradient, weight, bias = (t.double() for t in make_inputs(shape, 3.0))
    plain = nn.BatchNorm3d(shape[1], affine=affine) if x.dim() == 5 else nn.BatchNorm2d(shape[1], affine=affine)
    ours = kernel.BatchNorm3d(shape[1], affine=affine) if x.dim() == 5 else kernel.BatchNorm2d(shape[1], affine=affine)
    results_of = []
    for module, layout in ((plain.double(), torch.contiguous_format), (ours.double(), LAYOUTS[x.dim()])):
        if affine:
            module.weight.data.copy_(weight)
            module.bias.data.copy_(bias)
        leaf = x.clone(memory_format=layout).requires_grad_()
        y = module(leaf)
        y.backward(gradient.contiguous(memory_format=layout))
        evaluated = module.eval()(leaf).detach()
        gradients = [p.grad for p in module.parameters()]
        results_of.append([y.detach(), leaf.grad, evaluated, *gradients, *module.state_dict().values()])
    torch.testing.assert_close(results_of[1], results_of[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 16, 40, 30), (2, 16, 9, 40, 30)], ids=str)
def test_gradients_in_any_memory_layout(shape: tuple[int, ...]) -> None:
    x, gradient, *affine = make_inputs(shape, 1.0)
    x = x.contiguous(memory_format=LAYOUTS[len(shape)])
    expected = results(kernel.batch_norm, x, gradient.contiguous(memory_format=LAYOUTS[len(shape)]), *affine)
    slice_of_wider = torch.zeros(shape[0], *shape[2:], 2 * shape[1])[..., : shape[1]].movedim(-1, 1)
    for strided in (gradient, slice_of_wider.copy_(gradient)):
        actual = results(kernel.batch_norm, x, strided, *affine)
        assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_a_running_average_over_all_batches() -> None:
    plain, ours = nn.BatchNorm2d(3, momentum=None), kernel.BatchNorm2d(3, momentum=None)
    for seed in range(3):
        x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) + seed
        plain(x)
        ours(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(dict(ours.state_dict()), dict(plain.state_dict()))


def test_half_precision_keeps_float32_statistics() -> None:
    x, gradient, weight, bias = make_inputs((16, 64, 32, 22), 2.0, torch.bfloat16)
    expected = results(F.batch_norm, *(t.double() for t in (x, gradient, weight, bias)))
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    actual = results(kernel.batch_norm, x, gradient, weight, bias)
    assert actual["y"].dtype == actual["x"].dtype == torch.bfloat16
    rounding = errors({k: v.bfloat16() if k in "xy" else v.float() for k, v in expected.items()}, expected)
    for name, error in errors(actual, expected).items():
        assert error < max(2.5 * rounding[name], 3e-6), (name, error)


def test_a_channel_of_one_value() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        kernel.BatchNorm2d(4)(torch.ones(1, 4, 1, 1).contiguous(memory_format=torch.channels_last))
    with pytest.raises(ValueError, match="4D"):
        kernel.BatchNorm2d(4)(torch.ones(2, 4))


def test_constant_channels_stay_finite() -> None:
    x = torch.full((4, 8, 6, 6), 1000.0).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = kernel.batch_norm(x, None, None, None, None, True, 0.1, 1e-5)
    y.sum().backward()
    assert y.abs().max() < 1e-2
    assert torch.isfinite(x.grad).all()


LENGTHS = torch.tensor([10, 7, 9, 10])
FORMS: dict[str, Any] = {
    "alone": lambda norm, x: norm(x, LENGTHS),
    # The second of two equal maps side by side.
    "a pair": lambda norm, x: norm_pair(torch.cat([x, x], 1), copy.deepcopy(norm), norm, LENGTHS).chunk(2, 1)[1],
    "synchronised": lambda norm, x: synchronise_norms(norm, torch.device("cpu"))(x, LENGTHS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_norm_over_frames_is_as_precise(form: str) -> None:
    """Against PyTorch's contiguous kernel over all valid frames, as one sequence."""
    x, gradient, weight, bias = make_inputs((4, 32, 10, 64, 44), 10.0)

    def over_frames(t: torch.Tensor) -> torch.Tensor:
        return torch.cat([t[n, :, :length] for n, length in enumerate(LENGTHS.tolist())], 1).unsqueeze(0)

    def run(dtype: torch.dtype, function: Any) -> Results:
        norm = FrameBatchNorm(32).to(dtype)
        norm.norm.weight.data.copy_(weight)
        norm.norm.bias.data.copy_(bias)
        leaf = x.to(dtype).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        y = over_frames(function(norm, leaf))
        y.backward(over_frames(gradient).to(dtype))
        gradients = {"weight": norm.norm.weight.grad, "bias": norm.norm.bias.grad}
        statistics = {"mean": norm.norm.running_mean, "variance": norm.norm.running_var}
        return {"y": y.detach(), "x": over_frames(leaf.grad), **gradients, **statistics}

    def contiguous(norm: FrameBatchNorm, leaf: torch.Tensor) -> torch.Tensor:
        frames = over_frames(leaf).contiguous()
        mean, variance = norm.norm.running_mean, norm.norm.running_var
        y = F.batch_norm(frames, mean, variance, norm.norm.weight, norm.norm.bias, True, 0.1, norm.norm.eps)
        return torch.nn.utils.rnn.pad_sequence(
            list(y[0].movedim(1, 0).split(LENGTHS.tolist())), batch_first=True
        ).movedim(2, 1)

    expected = run(torch.float64, contiguous)
    plain = errors(run(torch.float32, contiguous), expected)
    for name, error in errors(run(torch.float32, FORMS[form]), expected).items():
        assert error < 10 * max(plain[name], 2**-24), (name, error, plain[name])
