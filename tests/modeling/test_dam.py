"""The Dynamic Augmentation Module, in both forms, against a reference in loops."""

import pytest
import torch

from dygait.modeling.backbones.dynamic3d import ShallowBackbone
from dygait.modeling.dam import DAMOptions, DynamicAugmentation, Form, Norm, Shortcut
from dygait.modeling.kernels import winograd
from dygait.modeling.layers import zero_padding
from helpers.networks import randomise_statistics
from reference import dam

FORMS: tuple[Form, ...] = ("plain", "fast")
KINDS: tuple[dict[str, bool], ...] = ({}, {"dynamic": False}, {"spatial": False}, {"dynamic": False, "spatial": False})


def name_of(kind: object) -> str | None:
    return None if not isinstance(kind, dict) else "without_" + "_".join(kind) if kind else "whole"


every_kind = pytest.mark.parametrize("kind", KINDS, ids=name_of)


def module(
    c_in: int, c_out: int, norm: Norm, form: Form, dtype: torch.dtype = torch.float64, **kind: bool
) -> DynamicAugmentation:
    """Return a DAM with random running statistics; weights are the same for both forms."""
    torch.manual_seed(3)
    return randomise_statistics(DynamicAugmentation(c_in, c_out, DAMOptions(norm, form, **kind)).to(dtype))


def walk(n: int, c: int, s: int, h: int = 4, w: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn((n, c, s, h, w), generator=torch.Generator().manual_seed(100 * c + s), dtype=dtype)


def reference_output(layer: DynamicAugmentation, sequence: torch.Tensor) -> torch.Tensor:
    weights = {name: value.double().numpy() for name, value in layer.state_dict().items()}
    return torch.from_numpy(dam.dam(sequence.double().numpy(), weights, layer.options.dynamic))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(("c_in", "c_out", "frames"), [(1, 2, 4), (2, 3, 3), (3, 3, 5), (2, 2, 1), (2, 3, 2)])
@every_kind
@pytest.mark.parametrize("with_gradient", [True, False])
def test_equals_the_formula(
    form: Form, norm: Norm, c_in: int, c_out: int, frames: int, kind: dict[str, bool], with_gradient: bool
) -> None:
    """With and without gradient: without, the fast form folds the BatchNorms into its weights."""
    layer, x = module(c_in, c_out, norm, form, **kind).eval(), walk(2, c_in, frames)
    with torch.set_grad_enabled(with_gradient):
        outputs = layer(x)
    assert outputs.shape == (2, c_out, frames, 4, 3)
    for sequence, output in zip(x, outputs, strict=True):
        torch.testing.assert_close(output, reference_output(layer, sequence), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shortcut", ["where needed", "always"])
@pytest.mark.parametrize("channels", [(2, 3), (3, 3)])
def test_the_shortcut(form: Form, shortcut: Shortcut, channels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = DynamicAugmentation(*channels, DAMOptions(form=form, shortcut=shortcut)).double()
    x = walk(2, channels[0], 4)
    weights = [tuple(w.shape) for name, w in layer.named_parameters() if name.startswith("shortcut")]
    assert weights == ([] if (shortcut, channels) == ("where needed", (3, 3)) else [(3, channels[0], 1, 1, 1)])
    for n in range(2):
        torch.testing.assert_close(layer(x)[n], reference_output(layer, x[n]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", ["none", "batch"])
@every_kind
@pytest.mark.parametrize("with_gradient", [True, False])
def test_padded_sequences_equal_the_formula_alone(
    form: Form, norm: Norm, kind: dict[str, bool], with_gradient: bool
) -> None:
    layer, lengths = module(2, 3, norm, form, **kind).eval(), torch.tensor([1, 2, 5, 3])
    x = zero_padding(walk(4, 2, 5), lengths)
    with torch.set_grad_enabled(with_gradient):
        outputs = layer(x, lengths)
    for sequence, output, length in zip(x, outputs, lengths.tolist(), strict=True):
        expected = reference_output(layer, sequence[:, :length])
        torch.testing.assert_close(output[:, :length], expected, atol=1e-12, rtol=1e-10)
        assert not output[:, length:].any()


def gradients(
    form: Form, norm: Norm, frames: int, lengths: torch.Tensor | None, dtype: torch.dtype, kind: dict[str, bool]
) -> dict[str, torch.Tensor]:
    """Return the gradients of a weighted sum of the output with respect to the input and every weight, by name."""
    layer, x = module(2, 3, norm, form, dtype, **kind), walk(3, 2, frames, dtype=dtype).requires_grad_()
    output = layer(zero_padding(x, lengths), lengths)
    weights = torch.linspace(-1, 1, output.numel(), dtype=dtype).reshape(output.shape)
    (output * weights).sum().backward()
    leaves = {"input": x, **dict(layer.named_parameters())}
    return {name: value.grad for name, value in leaves.items() if value.grad is not None}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(
    ("frames", "lengths", "kind"),
    [
        (frames, lengths, kind)
        for frames, lengths in ((1, None), (2, None), (6, None), (6, [6, 1, 2]), (4, [4, 3, 4]))
        for kind in KINDS
        # One frame is its own mean: without the spatial branch the input of the ReLU is zero, where it has no gradient.
        if (frames, kind) != (1, {"spatial": False})
    ],
    ids=name_of,
)
def test_both_forms_have_the_same_gradient(
    dtype: torch.dtype, tolerance: float, norm: Norm, frames: int, lengths: list[int] | None, kind: dict[str, bool]
) -> None:
    counts = None if lengths is None else torch.tensor(lengths)
    plain, fast = (gradients(form, norm, frames, counts, dtype, kind) for form in FORMS)
    assert plain.keys() == fast.keys() == {"input", *dict(module(2, 3, norm, "plain", **kind).named_parameters())}
    for name, expected in plain.items():
        scale = float(expected.abs().max())
        is_static = frames == 1 and "dynamic" in name and "dynamic" not in kind
        assert is_static or scale > 1e-3, f"{name}: comparing zeros shows nothing"
        torch.testing.assert_close(fast[name], expected, atol=tolerance * max(scale, 1.0), rtol=0)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("channels", [(1, 4), (4, 4), (4, 6)])
@pytest.mark.parametrize(
    ("frames", "lengths", "kind"), [(10, None, {}), *((5, [5, 2, 4], kind) for kind in KINDS)], ids=name_of
)
def test_by_winograd_all_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
    norm: Norm,
    channels: tuple[int, int],
    frames: int,
    lengths: list[int] | None,
    kind: dict[str, bool],
) -> None:
    """Whenever Winograd's form is used, the results are within 1e-5 of the plain form."""
    counts = None if lengths is None else torch.tensor(lengths)
    x = zero_padding(walk(3, channels[0], frames, 6, 5, torch.float32), counts)
    results: list[list[torch.Tensor]] = []
    for form in FORMS:
        monkeypatch.setattr(winograd, "_MIN_CHANNELS", (1, 1) if form == "fast" else (99, 99))
        layer, leaf = module(*channels, norm, form, torch.float32, **kind), x.clone().requires_grad_()
        output = layer(zero_padding(leaf, counts), counts)
        output.square().mean().backward()
        with torch.no_grad():
            evaluated = layer.eval()(x, counts)
        results.append([output.detach(), evaluated, leaf.grad, *(p.grad for p in layer.parameters())])  # type: ignore[list-item]
    for plain, fast in zip(*results, strict=True):
        # The gradients of a BatchNorm are differences of large sums.
        scale = max(float(plain.abs().max()), 0.1 if norm == "batch" else 0.01)
        assert float((fast - plain).abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize(("norm", "lengths"), [("batch", None), ("none", [5, 3])])
def test_compiled_without_a_break_it_is_the_same(norm: Norm, lengths: list[int] | None) -> None:
    counts = None if lengths is None else torch.tensor(lengths)
    x = zero_padding(walk(2, 2, 5, dtype=torch.float32), counts)
    results = []
    for compiled in (False, True):
        layer = module(2, 3, norm, "fast", torch.float32)
        function = torch.compile(layer, backend="aot_eager", fullgraph=True) if compiled else layer
        leaf = x.clone().requires_grad_()
        output = function(leaf, counts)
        output.square().sum().backward()
        results.append([output.detach(), leaf.grad, *(p.grad for p in layer.parameters())])
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, eager, atol=1e-4, rtol=1e-5)


def test_at_inference_every_change_of_weights_and_statistics_is_seen() -> None:
    """Also one that PyTorch's version counter misses: BatchNorms are folded into the weights at every call."""
    layer, x = module(2, 3, "batch", "fast", torch.float32).eval(), walk(2, 2, 5, dtype=torch.float32)
    plain = DynamicAugmentation(2, 3, DAMOptions("batch", "plain")).eval()
    with torch.inference_mode():
        before = layer(x)
        for tensor in layer.state_dict().values():
            tensor.numpy()[...] *= 2
        plain.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer(x), plain(x), atol=1e-5, rtol=1e-5)
        assert float((layer(x) - before).abs().max()) > 0.01 * float(before.abs().max())


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_checkpointing_changes_nothing(norm: Norm) -> None:
    """Gradients and running statistics are equal, and less is saved for the backward pass."""
    lengths = torch.tensor([9, 7])
    x = zero_padding(walk(2, 1, 9, 16, 12, torch.float32), lengths)
    results, saved = [], []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        backbone = ShallowBackbone([2, 3, 4], DAMOptions(norm, "fast", checkpointing))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            output = backbone(x, lengths)[0]
        output.square().sum().backward()
        saved.append(sum(sizes))
        results.append([output.detach(), *(p.grad for p in backbone.parameters()), *backbone.buffers()])
    assert saved[1] < saved[0] / 2
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(checkpointed, plain, atol=0, rtol=0)
