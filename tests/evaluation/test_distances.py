import numpy as np
import pytest
import torch

from dygait.errors import UserError
from dygait.evaluation import distances
from dygait.evaluation.distances import METRICS, distance_blocks, pairwise_distance
from reference import metrics


def features(count: int, channels: int = 5, parts: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, channels, parts)).astype(np.float32))


def reference_distances(probe: torch.Tensor, gallery: torch.Tensor, metric: str) -> torch.Tensor:
    return torch.tensor([[metrics.distance(x, y, metric) for y in gallery.tolist()] for x in probe.tolist()])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_the_slow_reference(metric: str, dtype: torch.dtype) -> None:
    for channels, parts in ((1, 1), (5, 3), (64, 2)):
        probe, gallery = features(7, channels, parts).to(dtype), features(9, channels, parts, seed=1).to(dtype)
        actual = pairwise_distance(probe, gallery, metric)
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, reference_distances(probe, gallery, metric), atol=1e-6, rtol=1e-6)
        for n, m in ((0, 3), (3, 0)):
            assert pairwise_distance(probe[:n], gallery[:m], metric).shape == (n, m)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_full_equal_and_of_close_vectors(metric: str, shift: float) -> None:
    x = features(40, 256, 4) + shift
    close = x.clone()
    close[:, 0] += 0.01
    assert (pairwise_distance(x, x, metric).diagonal() == 0).all()
    if metric == "euc":
        expected = (close.double() - x.double()).square().sum(1).sqrt().mean(1)
        actual = pairwise_distance(x, close, metric).diagonal().double()
        torch.testing.assert_close(actual, expected, atol=1e-4 if shift else 1e-7, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_keep_the_memory_limit_and_the_result(metric: str) -> None:
    probe, gallery = features(23, 16, 4), features(31, 16, 4, seed=1)
    expected = pairwise_distance(probe, gallery, metric)
    for max_bytes in (1, 4_000, 20_000, 1_000_000):
        assert torch.equal(pairwise_distance(probe, gallery, metric, max_bytes), expected)
    starts = [rows.start for rows, _ in distance_blocks(probe, gallery, metric, 1)]
    assert starts == list(range(23))  # at least one probe per block
    channels, parts, max_bytes = 8, 4, 100_000
    x = features(500, channels, parts)
    side = next(distance_blocks(x, x, metric, max_bytes))[0].stop
    numbers = parts * (side**2 + 2 * side * channels) if metric == "euc" else side**2 + 2 * side * channels * parts
    assert max_bytes / 2 < 8 * numbers <= max_bytes


def test_errors() -> None:
    with pytest.raises(UserError, match=r"unknown distance 'l2'; choose one of euc, cos"):
        pairwise_distance(features(2), features(2), "l2")
    with pytest.raises(UserError, match=r"\(2, 5, 3\).*\(2, 6, 3\)"):
        pairwise_distance(features(2), features(2, 6))


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_TILE", 512)


def exact_distances(probe: torch.Tensor, gallery: torch.Tensor, metric: str) -> torch.Tensor:
    if metric == "cos":
        probe, gallery = (torch.nn.functional.normalize(x.double(), dim=1, eps=1e-300) for x in (probe, gallery))
        return torch.stack([1 - (x * gallery).sum(1).mean(1) for x in probe])
    return torch.stack([(x.double() - gallery.double()).square().sum(1).sqrt().mean(1) for x in probe])


def tiled_features(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return enough features for float32 tiles, of kinds for which exact distances are difficult."""
    probe, gallery = features(600, 16, 3), features(700, 16, 3, seed=1)
    if kind == "a few close":
        gallery[::50] = probe[:14] + 1e-3 * gallery[::50]
    if kind == "all close":
        probe, gallery = 5 + 1e-3 * probe, 5 + 1e-3 * gallery
    if kind == "pairs":
        gallery[:600] = probe + 1e-4 * gallery[:600]
    if kind == "two clusters":
        probe, gallery = (1e-3 * x + (torch.arange(len(x)) % 2 * 10.0)[:, None, None] for x in (probe, gallery))
    if kind == "huge":
        probe, gallery = probe * 1e25, gallery * 1e25
    if kind == "one huge":
        probe[3] *= 1e25
    if kind == "tiny":
        probe, gallery = probe * 1e-25, gallery * 1e-25
    return probe, gallery


KINDS = ["plain", "a few close", "all close", "pairs", "two clusters", "huge", "one huge", "tiny"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_in_float32_are_exact(metric: str, kind: str) -> None:
    for dtype in (torch.float32, torch.float64, torch.float16) if kind == "plain" else (torch.float32,):
        probe, gallery = (x.to(dtype) for x in tiled_features(kind))
        actual = pairwise_distance(probe.requires_grad_(), gallery, metric)
        assert not actual.requires_grad
        # For the cosine of close vectors, float64 has an absolute error, too.
        atol = 1e-14 if metric == "cos" else 0
        expected = exact_distances(probe.detach(), gallery, metric)
        torch.testing.assert_close(actual.double(), expected, rtol=2e-6, atol=atol)


def test_tiles_keep_zeros_and_ties_exactly() -> None:
    probe, gallery = tiled_features("a few close")
    gallery = torch.cat([gallery, gallery[:300], probe[:9]])
    full = pairwise_distance(probe, gallery)
    assert torch.equal(pairwise_distance(probe, gallery, max_bytes=1), full)
    assert [rows.start for rows, _ in distance_blocks(probe, gallery, max_bytes=1)] == [0, 512]
    assert torch.equal(full[:, :300], full[:, 700:1000])  # the same sequence again, in another tile
    assert (full[:9, 1000:].diagonal() == 0).all()
    rows, columns = torch.arange(599, -1, -1), torch.arange(3, 700)
    ((_, selected),) = distance_blocks(probe, gallery, probe_rows=rows, gallery_rows=columns)
    torch.testing.assert_close(selected, full[rows][:, columns], atol=0, rtol=1e-6)
