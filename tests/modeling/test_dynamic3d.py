"""The Dynamic Augmentation Module, in both forms, against its formula written out in loops."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from dygait.modeling.backbones.dynamic3d import DeepBackbone, DynamicAugmentation, Form, Norm, ShallowBackbone
from dygait.modeling.layers import zero_padding
from reference import dam

FORMS: tuple[Form, ...] = ("plain", "fast")


def module(c_in: int, c_out: int, norm: Norm, form: Form, dtype: torch.dtype = torch.float64) -> DynamicAugmentation:
    """A DAM with the same weights for both forms, whose BatchNorms have seen something."""
    torch.manual_seed(3)
    made = DynamicAugmentation(c_in, c_out, norm, form).to(dtype)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return made


def walk(n: int, c: int, s: int, h: int = 4, w: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn((n, c, s, h, w), generator=torch.Generator().manual_seed(100 * c + s), dtype=dtype)


def by_the_formula(made: DynamicAugmentation, sequence: torch.Tensor) -> torch.Tensor:
    weights = {name: value.double().numpy() for name, value in made.state_dict().items()}
    return torch.from_numpy(dam.dam(sequence.double().numpy(), weights))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(("c_in", "c_out", "frames"), [(1, 2, 4), (2, 3, 3), (3, 3, 5), (2, 2, 1), (2, 3, 2)])
def test_equals_the_formula(form: Form, norm: Norm, c_in: int, c_out: int, frames: int) -> None:
    made, x = module(c_in, c_out, norm, form).eval(), walk(2, c_in, frames)
    found = made(x)
    assert found.shape == (2, c_out, frames, 4, 3)
    for sequence, of_it in zip(x, found, strict=True):
        torch.testing.assert_close(of_it, by_the_formula(made, sequence), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_padded_sequences_equal_the_formula_alone(form: Form, norm: Norm) -> None:
    made, lengths = module(2, 3, norm, form).eval(), torch.tensor([1, 2, 5, 3])
    x = zero_padding(walk(4, 2, 5), lengths)
    found = made(x, lengths)
    for sequence, of_it, length in zip(x, found, lengths.tolist(), strict=True):
        alone = by_the_formula(made, sequence[:, :length])
        torch.testing.assert_close(of_it[:, :length], alone, atol=1e-12, rtol=1e-10)
        assert not of_it[:, length:].any()


def gradients(
    form: Form, norm: Norm, frames: int, lengths: torch.Tensor | None, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Of a loss that weighs every value of the output differently: with respect to the input and to every weight."""
    made, x = module(2, 3, norm, form, dtype), walk(3, 2, frames, dtype=dtype).requires_grad_()
    found = made(zero_padding(x, lengths), lengths)
    weights = torch.linspace(-1, 1, found.numel(), dtype=dtype).reshape(found.shape)
    (found * weights).sum().backward()
    named = {"input": x, **dict(made.named_parameters())}
    return {name: value.grad for name, value in named.items() if value.grad is not None}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(("frames", "lengths"), [(1, None), (2, None), (6, None), (6, [6, 1, 2]), (4, [4, 3, 4])])
def test_both_forms_have_the_same_gradient(
    dtype: torch.dtype, tolerance: float, norm: Norm, frames: int, lengths: list[int] | None
) -> None:
    counts = None if lengths is None else torch.tensor(lengths)
    plain, fast = (gradients(form, norm, frames, counts, dtype) for form in FORMS)
    assert plain.keys() == fast.keys() == {"input", *dict(module(2, 3, norm, "plain").named_parameters())}
    for name, expected in plain.items():
        size = float(expected.abs().max())
        nothing_moves = frames == 1 and "dynamic" in name
        assert nothing_moves or size > 1e-3, f"{name}: comparing zeros shows nothing"
        torch.testing.assert_close(fast[name], expected, atol=tolerance * max(size, 1.0), rtol=0)


@pytest.mark.parametrize("lengths", [None, [3, 2]])
def test_the_gradient_is_that_of_the_function(lengths: list[int] | None) -> None:
    made, counts = module(1, 2, "none", "fast"), None if lengths is None else torch.tensor(lengths)
    x = zero_padding(walk(2, 1, 3, 3, 2), counts).requires_grad_()
    # Padding is zeroed first: the module asks for that, and the finite differences disturb it.
    assert torch.autograd.gradcheck(lambda y: made(zero_padding(y, counts), counts), (x,), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(
    "make", [lambda **k: DynamicAugmentation(2, 3, **k), lambda **k: DeepBackbone([2, 3, 4, 5], **k)]
)
def test_a_checkpoint_serves_both_forms(make: Any, norm: Norm) -> None:
    plain, fast = (make(norm=norm, form=form).state_dict() for form in FORMS)
    assert {k: v.shape for k, v in plain.items()} == {k: v.shape for k, v in fast.items()}


def test_sizes_of_the_weights() -> None:
    shapes = {k: tuple(v.shape) for k, v in DynamicAugmentation(2, 3).state_dict().items()}
    assert shapes == {
        "stage1.conv_global.weight": (3, 2, 3, 3, 3),
        "stage1.conv_dynamic.weight": (3, 2, 3, 3, 3),
        "stage1.conv_spatial.weight": (3, 2, 1, 3, 3),
        "stage2.conv_global.weight": (3, 3, 3, 3, 3),
        "stage2.conv_dynamic.weight": (3, 3, 3, 3, 3),
        "stage2.conv_spatial.weight": (3, 3, 3, 3, 3),
        "shortcut.weight": (3, 2, 1, 1, 1),
    }
    assert not any(k.startswith("shortcut") for k in DynamicAugmentation(3, 3).state_dict())


def test_a_still_sequence_has_no_dynamic_branch() -> None:
    made, still = module(2, 2, "none", "fast"), walk(1, 2, 1).expand(-1, -1, 5, -1, -1)
    before = made.stage1(still, None)
    with torch.no_grad():
        made.stage1.conv_dynamic.weight.mul_(100)
    torch.testing.assert_close(made.stage1(still, None), before, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("form", "norm"), itertools.product(FORMS, ["none", "batch"]))
def test_backbones(form: Form, norm: Norm) -> None:
    lengths = torch.tensor([7, 3, 4])
    x = zero_padding(walk(3, 1, 7, 16, 12, torch.float32), lengths)
    for make, channels, size in (
        (DeepBackbone, [2, 3, 4, 5], (5, 2, 4, 3)),
        (ShallowBackbone, [2, 3, 4], (4, 2, 8, 6)),
    ):
        made: Any = make(channels, norm, form)
        assert len(channels) == made.depth
        features, kept = made(x, lengths)
        assert features.shape == (3, *size)
        assert kept.tolist() == [2, 1, 1]
        assert (16 // 2**made.pools, 12 // 2**made.pools) == features.shape[3:]
        assert not features[1:, :, 1].any()
