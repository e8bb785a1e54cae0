"""Pooling of parts, convolutions, and GaitPart's micro-motion, against plain loops."""

from functools import partial

import pytest
import torch

from dygait.modeling.backbones.plain import FocalConv2d, Plain
from dygait.modeling.layers import valid_frames
from dygait.modeling.models.gaitgl import GLConv
from dygait.modeling.models.gaitpart import MicroMotion, TemporalFeatureAggregator
from dygait.modeling.parts import GeMHorizontalPooling, HorizontalPooling
from reference import parts
from reference.convolutions import convolve_by_strips, micro_motion


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.01 * x)


class TestHorizontalPooling:
    """Strips that nest, strips that do not (their finest common ones are single rows), and one kind of strips."""

    @pytest.mark.parametrize("bins", [[4, 2, 1], [4, 6], [2, 3], [3]])
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_equals_the_formula(self, layout: torch.memory_format, bins: list[int]) -> None:
        x = random(2, 3, 12, 5).to(memory_format=layout)
        actual = HorizontalPooling(bins)(x)
        assert actual.shape == (2, 3, sum(bins))
        for n in range(2):
            for c in range(3):
                expected = parts.strips(x[n, c].tolist(), bins, lambda v: sum(v) / len(v) + max(v))
                assert actual[n, c].tolist() == pytest.approx(expected)

    @pytest.mark.parametrize("bins", [[4, 2, 1], [4, 6]])
    def test_the_first_of_equal_maxima_gets_the_gradient(self, bins: list[int]) -> None:
        x = random(2, 3, 12, 5).round().relu().to(memory_format=torch.channels_last).requires_grad_()
        upstream = random(2, 3, sum(bins), seed=1)
        HorizontalPooling(bins)(x).backward(upstream)
        expected = torch.zeros_like(x, memory_format=torch.contiguous_format)
        for image, gradient, of_parts in zip(
            x.flatten(0, 1), expected.flatten(0, 1), upstream.flatten(0, 1), strict=True
        ):
            strips = [one for b in bins for one in zip(image.chunk(b), gradient.chunk(b), strict=True)]
            for (strip, part), value in zip(strips, of_parts, strict=True):
                part += value / strip.numel()
                part.view(-1)[strip.flatten().tolist().index(strip.max())] += value
        torch.testing.assert_close(x.grad, expected)
        assert x.grad is not None
        assert x.grad.is_contiguous(memory_format=torch.channels_last)


class TestGeMHorizontalPooling:
    @pytest.mark.parametrize("bins", [[1], [4], [4, 2, 1], [2, 4]])
    @pytest.mark.parametrize("p", [1.0, 3.0, 6.5])
    def test_equals_the_formula(self, bins: list[int], p: float) -> None:
        x = random(2, 3, 4, 5)  # negative values count as eps
        layer = GeMHorizontalPooling(bins, p).double()
        actual = layer(x)
        assert actual.shape == (2, 3, sum(bins))
        pool = partial(parts.generalised_mean, p=p)
        expected = [[parts.strips(image, bins, pool) for image in maps] for maps in x.tolist()]
        torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-10)

    def test_half_precision_is_computed_in_float32(self) -> None:
        layer, x = GeMHorizontalPooling([2]), random(2, 3, 4, 5, dtype=torch.float32).abs() * 30
        with torch.autocast("cpu", torch.bfloat16):
            actual = layer(x.bfloat16())
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, layer(x.bfloat16().float()), atol=0, rtol=0)
        half = layer(x.half())  # 30^6.5 is far beyond the range of float16
        torch.testing.assert_close(half, layer(x.half().float()), atol=0, rtol=0)

    @pytest.mark.parametrize("p", [1.0, 6.5, 7.55, 12.0])
    @pytest.mark.parametrize("bins", [[1], [4, 2, 1], [2, 1]])
    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
    def test_large_exponents_neither_underflow_nor_overflow(self, p: float, bins: list[int], scale: float) -> None:
        x = (random(3, 8, 4, 11, dtype=torch.float32) * scale).contiguous(memory_format=torch.channels_last)
        x[0, :, :2] = 0  # strips in which all values are below eps
        x[1, 1], x[1, 2] = 0, 1e-7
        x[2, :, :, :6] = 0
        layer = GeMHorizontalPooling(bins, p)
        weights = random(3, 8, sum(bins), seed=1, dtype=torch.float32)
        ulp = torch.finfo(torch.float32).eps

        def values_and_gradients(pooled: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
            gradients = torch.autograd.grad((pooled * weights.to(pooled.dtype)).sum(), inputs)
            return [pooled.detach().double(), *(gradient.double() for gradient in gradients)]

        x.requires_grad_()
        exact, exponent = x.detach().double().requires_grad_(), layer.p.detach().double().requires_grad_()
        powers = exact.clamp(min=1e-6).pow(exponent)
        means = torch.cat([powers.reshape(3, 8, b, -1).mean(3) for b in bins], 2).pow(1 / exponent)
        actual, expected = values_and_gradients(layer(x), x, layer.p), values_and_gradients(means, exact, exponent)
        torch.testing.assert_close(actual[0], expected[0], rtol=4 * ulp, atol=0)
        for gradient, reference in zip(actual[1:], expected[1:], strict=True):
            torch.testing.assert_close(gradient, reference, rtol=0, atol=16 * ulp * float(reference.abs().max()))


@pytest.mark.parametrize(("halving", "kernel"), [(0, 3), (1, 3), (2, 3), (1, 5)])
def test_focal_convolution(halving: int, kernel: int) -> None:
    layer = FocalConv2d(2, 3, kernel, halving).double()
    x = random(2, 2, 4, 3)
    expected = [convolve_by_strips(image[:, None], layer.conv.weight[:, :, None], 2**halving)[:, 0] for image in x]
    torch.testing.assert_close(layer(x), torch.stack(expected))


@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("strips", [1, 2, 4])
def test_global_local_convolution(strips: int, stack: bool) -> None:
    layer = GLConv(2, 3, strips, stack).double()
    x, lengths = random(2, 2, 4, 4, 3), torch.tensor([4, 3])
    x[1, :, 3] = 0
    actual = layer(x, lengths)
    for n, length in enumerate(lengths):
        global_map = convolve_by_strips(x[n, :, :length], layer.conv_global.weight, 1)
        local = convolve_by_strips(x[n, :, :length], layer.conv_local.weight, strips)
        expected = torch.cat([leaky(global_map), leaky(local)], 2) if stack else leaky(global_map) + leaky(local)
        torch.testing.assert_close(actual[n, :, :length], expected)
    assert not actual[1, :, 3].any(), "zero in padding"


class TestPlain:
    LAYERS = ("BC-3", "M", "FC-4-2", "FC-5-1", "M", "BC-6")

    def test_layers(self) -> None:
        backbone = Plain(list(self.LAYERS))
        convolutions = [layer for layer in backbone.layers if isinstance(layer, FocalConv2d)]
        assert [tuple(c.conv.weight.shape) for c in convolutions] == [
            (3, 1, 5, 5), (4, 3, 3, 3), (5, 4, 3, 3), (6, 5, 3, 3),
        ]  # fmt: skip
        assert [c.strips for c in convolutions] == [1, 4, 2, 1]
        assert backbone(torch.zeros(2, 1, 16, 12)).shape == (2, 6, 4, 3)
        assert backbone.out_channels == 6

    def test_output(self) -> None:
        backbone, x = Plain(["BC-2", "M", "FC-3-1"]).double(), random(1, 1, 8, 6)
        first, second = (m.conv.weight[:, :, None] for m in backbone.layers if isinstance(m, FocalConv2d))
        expected = leaky(convolve_by_strips(x[0, :, None], first, 1))
        expected = torch.stack([expected[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
        expected = leaky(convolve_by_strips(expected, second, 2))
        torch.testing.assert_close(backbone(x)[0], expected[:, 0])

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (["BC-4", "FC-8"], "'FC-8' is no layer"),
            (["BC-0"], "'BC-0' is no layer"),
            ([], "first layer must be a convolution"),
            (["M", "BC-4"], "first layer must be a convolution"),
            (["BC-4", "M", "FC-4-4"], "8 rows does not divide into 16 strips"),
        ],
    )
    def test_invalid_layers(self, layers: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Plain(layers)(torch.zeros(1, 1, 16, 12))


PARTS, CHANNELS = 2, 4


def weights(builder: MicroMotion, part: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    return builder.squeeze[part].weight.detach(), builder.excite[part].weight.detach(), builder.window


@pytest.mark.parametrize("lengths", [None, [7, 3], [1, 2], [7, 7]])
def test_aggregator(lengths: list[int] | None) -> None:
    torch.manual_seed(0)
    aggregator = TemporalFeatureAggregator(CHANNELS, PARTS).double()
    x = torch.randn(2, PARTS, CHANNELS, 7, dtype=torch.float64)
    counts = None if lengths is None else torch.tensor(lengths)
    if counts is not None:
        x = x * valid_frames(counts, 7)[:, None, None]
    with torch.no_grad():
        actual = aggregator(x, counts)
    for n in range(2):
        for part in range(PARTS):
            walk = x[n, part, :, : 7 if lengths is None else lengths[n]].T.tolist()
            short, long = (micro_motion(walk, *weights(b, part)) for b in (aggregator.short, aggregator.long))
            expected = [max(a[c] + b[c] for a, b in zip(short, long, strict=True)) for c in range(CHANNELS)]
            assert actual[n, :, part].tolist() == pytest.approx(expected)
