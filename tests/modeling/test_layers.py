import math

import pytest
import torch
from torch import nn

from dygait.modeling import frames, layers
from helpers.narrowing import bfloat16_is_emulated
from reference import parts


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestTime:
    lengths = torch.tensor([4, 1, 3])

    @pytest.mark.parametrize("padded", [False, True])
    def test_mean_and_max_see_only_valid_frames(self, padded: bool) -> None:
        # Negative values, so that the zeros in padding would be the maximum.
        x, lengths = random(3, 2, 4, 3, 2) - 5, self.lengths if padded else None
        x = layers.zero_padding(x, lengths)
        mean, largest = layers.temporal_mean(x, lengths), layers.temporal_max(x, lengths)
        packed = frames.pack(x.transpose(1, 2), lengths)
        assert torch.equal(frames.unpack(*packed).transpose(1, 2), x)
        assert torch.equal(frames.sequence_max(*packed), largest)
        assert mean.shape == (3, 2, 1, 3, 2)
        assert largest.shape == (3, 2, 3, 2)
        for n in range(3):
            valid = x[n, :, : self.lengths[n] if padded else 4]
            torch.testing.assert_close(mean[n, :, 0], valid.mean(1), atol=1e-12, rtol=0)
            assert torch.equal(largest[n], valid.amax(1))

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("last", [False, True])
    @pytest.mark.parametrize("padded", [False, True])
    def test_of_equal_values_the_first_gets_the_gradient(self, padded: bool, last: bool, packed: bool) -> None:
        valid_lengths, lengths = self.lengths if padded else torch.full((3,), 4), self.lengths if padded else None
        x = random(3, 5, 4, 3, 2).sign() - 2  # -1 and -3, below the zeros in padding
        x = x.to(memory_format=torch.channels_last_3d) if last else x
        gradient = random(3, 5, 3, 2, seed=1)
        expected = torch.zeros_like(x)
        for n, c, h, w in torch.ones(3, 5, 3, 2).nonzero().tolist():
            values = x[n, c, : valid_lengths[n], h, w].tolist()
            expected[n, c, values.index(max(values)), h, w] = gradient[n, c, h, w]
        x = layers.zero_padding(x, lengths).requires_grad_()
        maximum = frames.sequence_max(*frames.pack(x.transpose(1, 2), lengths)) if packed else None
        maximum = layers.temporal_max(x, lengths) if maximum is None else maximum
        assert torch.equal(torch.autograd.grad(maximum, x, gradient)[0], expected)


class TestWholeSequences:
    """a -> a a a; a b -> a b a b; three or more frames are unchanged."""

    @pytest.mark.parametrize(
        ("frames", "expected"), [(1, [0, 0, 0]), (2, [0, 1, 0, 1]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4])]
    )
    def test_alone(self, frames: int, expected: list[int]) -> None:
        x = random(2, frames, 3, 2)
        output, lengths = layers.whole_sequences(x, None)
        assert lengths is None
        assert torch.equal(output, x[:, expected])

    @pytest.mark.parametrize(
        "lengths", [[1, 2, 3, 4, 6], [1, 1], [2, 2], [1, 2], [2, 3], [3, 1], [5, 3], [3, 3], [6, 2]]
    )
    @pytest.mark.parametrize("more", [0, 2])  # frames of padding in every sequence
    def test_in_a_batch(self, lengths: list[int], more: int) -> None:
        counts = torch.tensor(lengths)
        frames = max(lengths) + more
        x = random(len(lengths), frames, 3, 2)  # values in padding are ignored
        output, output_lengths = layers.whole_sequences(x, counts)
        assert output_lengths.tolist() == [{1: 3, 2: 4}.get(length, length) for length in lengths]
        assert output.shape[1] >= max(output_lengths.tolist())
        for n, length in enumerate(lengths):
            alone, _ = layers.whole_sequences(x[n : n + 1, :length], None)
            assert torch.equal(output[n : n + 1, : output_lengths[n]], alone)
            assert not output[n, output_lengths[n] :].any()


class TestLocalTemporalAggregation:
    @pytest.mark.parametrize(("frames", "remaining"), [(3, 1), (5, 1), (6, 2), (8, 2)])
    def test_every_three_frames_become_one(self, frames: int, remaining: int) -> None:
        torch.manual_seed(0)
        layer, x = layers.LocalTemporalAggregation(2).double(), random(1, 2, frames, 2, 2)
        output, lengths = layer(x, None)
        assert lengths is None
        assert output.shape == (1, 2, remaining, 2, 2)
        for s in range(remaining):
            for o in range(2):
                value = sum(layer.conv.weight[o, c, t, 0, 0] * x[0, c, 3 * s + t] for c in range(2) for t in range(3))
                expected = torch.where(value > 0, value, 0.01 * value)
                torch.testing.assert_close(output[0, o, s], expected, atol=1e-12, rtol=0)


class TestSeparateFCs:
    def test_parts_have_separate_matrices(self) -> None:
        torch.manual_seed(0)
        layer, x = layers.SeparateFCs(4, 3, 2).double(), random(2, 3, 4)
        expected = [parts.separate_fcs(sequence, layer.fc_bin.tolist()) for sequence in x.tolist()]
        torch.testing.assert_close(layer(x), torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)

    def test_initialisation_is_xavier_uniform_over_the_whole_tensor(self) -> None:
        torch.manual_seed(0)
        matrices = layers.SeparateFCs(8, 300, 100).fc_bin
        bound = math.sqrt(6 / (300 * 100 + 8 * 100))
        for matrix in matrices:
            assert 0.95 * bound < float(matrix.abs().max()) <= bound
            assert abs(float(matrix.std()) / (bound / math.sqrt(3)) - 1) < 0.02
        assert not torch.equal(matrices[0], matrices[1])


class TestSeparateBNNecks:
    def test_logits_are_cosines(self) -> None:
        torch.manual_seed(0)
        layer, x = layers.SeparateBNNecks(2, 3, 5).double(), random(4, 3, 2) * 7 + 1
        logits, features = layer(x)
        assert logits.shape == (4, 5, 2)
        assert torch.equal(features, layer.features(x))
        assert logits.abs().max() <= 1 + 1e-12
        # BatchNorm over C x P: every channel of every part is normalised over the sequences.
        normed = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
        for n in range(4):
            for k in range(5):
                for p in range(2):
                    expected = parts.cosine(normed[n, :, p].tolist(), layer.fc_bin[p, :, k].tolist())
                    assert abs(float(logits[n, k, p]) - expected) < 1e-12

    def test_part_weights_scale_features_and_not_logits(self) -> None:
        layer, x = layers.SeparateBNNecks(2, 3, 5), random(4, 3, 2, dtype=torch.float32)
        weighted = layers.SeparateBNNecks(2, 3, 5, part_weights=[1, 3])
        assert not weighted.load_state_dict(layer.state_dict()).missing_keys
        (logits, features), (same, scaled) = layer(x), weighted(x)
        assert torch.equal(logits, same)
        assert torch.allclose(scaled, features * torch.tensor([0.5, 1.5]))

    @pytest.mark.parametrize("half", [False, True])
    def test_gradient_is_that_of_normalised_weights(self, half: bool) -> None:
        torch.manual_seed(0)
        layer, x = layers.SeparateBNNecks(3, 8, 6), random(5, 8, 3, dtype=torch.float32)
        results = []
        for plain in (False, True):
            leaf = x.clone().requires_grad_()
            layer.zero_grad()
            if plain:
                n, c, p = leaf.shape
                normed = nn.functional.normalize(layer.bn1d(leaf.reshape(n, c * p)).reshape(n, c, p), dim=1)
                logits = torch.einsum("ncp,pck->nkp", normed, nn.functional.normalize(layer.fc_bin, dim=1))
            else:
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    logits, _ = layer(leaf)
            logits.square().sum().backward()
            results.append((logits.detach(), leaf.grad, layer.fc_bin.grad.clone()))
        for actual, expected in zip(*results, strict=True):
            assert actual.dtype == torch.float32
            assert float((actual - expected).abs().max()) <= (0.03 if half else 1e-5) * float(expected.abs().max())


def test_initialise() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(16, 32, 3), nn.Conv2d(64, 64, 3), nn.Linear(200, 300), nn.BatchNorm1d(2000))
    layers.initialise(network)
    for layer, fan in ((network[0], (16 + 32) * 27), (network[1], 128 * 9), (network[2], 500)):
        bound = math.sqrt(6 / fan)
        assert 0.95 * bound < float(layer.weight.abs().max()) <= bound
        assert abs(float(layer.weight.std()) / (bound / math.sqrt(3)) - 1) < 0.03
        assert not layer.bias.any()
    assert abs(float(network[3].weight.mean()) - 1) < 0.002
    assert abs(float(network[3].weight.std()) / 0.02 - 1) < 0.1
    assert not network[3].bias.any()


@pytest.mark.parametrize(("frames_of_map", "size"), [(2, (16, 11)), *((count, (64, 44)) for count in (1, 2, 3, 6, 9))])
def test_few_frames_have_the_gradient_of_float32(frames_of_map: int, size: tuple[int, int]) -> None:
    if size == (64, 44) and bfloat16_is_emulated():
        pytest.skip("these are wrong only on CPUs with AMX; a minute where bfloat16 has no instructions")
    x = random(2, 32, frames_of_map, *size, dtype=torch.float32)
    weight = random(64, 32, 3, 3, 3, dtype=torch.float32)
    gradients = []
    for half in (False, True):
        weight = weight.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            padded, lengths = layers.avoid_few_frames(layers.channels_last(x), None)
            maps = nn.functional.conv3d(padded, weight, padding=1)[:, :, :frames_of_map]
        assert lengths is None or lengths.tolist() == [frames_of_map] * 2
        maps.backward(random(*maps.shape, seed=1, dtype=torch.float32).to(maps.dtype))
        gradients.append(weight.grad)
    assert torch.linalg.norm(gradients[1] - gradients[0]) < 0.01 * torch.linalg.norm(gradients[0])
