import numpy as np
import pytest
import torch

from dygait.errors import UserError
from dygait.evaluation import distances
from dygait.evaluation.distances import METRICS, distance_blocks, pairwise_distance
from reference import metrics


def features(count: int, channels: int = 5, parts: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, channels, parts)).astype(np.float32))


def slow(probe: torch.Tensor, gallery: torch.Tensor, metric: str) -> torch.Tensor:
    return torch.tensor([[metrics.distance(x, y, metric) for y in gallery.tolist()] for x in probe.tolist()])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_the_slow_reference(metric: str, dtype: torch.dtype) -> None:
    for channels, parts in ((1, 1), (5, 3), (64, 2)):
        probe, gallery = features(7, channels, parts).to(dtype), features(9, channels, parts, seed=1).to(dtype)
        found = pairwise_distance(probe, gallery, metric)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, slow(probe, gallery, metric), atol=1e-6, rtol=1e-6)
        for few, many in ((0, 3), (3, 0)):
            assert pairwise_distance(probe[:few], gallery[:many], metric).shape == (few, many)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_equal_vectors_are_at_zero_and_near_ones_are_not_lost(metric: str, shift: float) -> None:
    x = features(40, 256, 4) + shift
    near = x.clone()
    near[:, 0] += 0.01
    assert (pairwise_distance(x, x, metric).diagonal() == 0).all()
    if metric == "euc":
        expected = (near.double() - x.double()).square().sum(1).sqrt().mean(1)
        found = pairwise_distance(x, near, metric).diagonal().double()
        torch.testing.assert_close(found, expected, atol=1e-4 if shift else 1e-7, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_stay_within_their_memory_and_do_not_change_the_result(metric: str) -> None:
    probe, gallery = features(23, 16, 4), features(31, 16, 4, seed=1)
    whole = pairwise_distance(probe, gallery, metric)
    for max_bytes in (1, 4_000, 20_000, 1_000_000):
        assert torch.equal(pairwise_distance(probe, gallery, metric, max_bytes), whole)
    starts = [rows.start for rows, _ in distance_blocks(probe, gallery, metric, 1)]
    assert starts == list(range(23))  # never less than one probe at a time
    channels, parts, max_bytes = 8, 4, 100_000
    several = features(500, channels, parts)
    side = next(distance_blocks(several, several, metric, max_bytes))[0].stop
    numbers = parts * (side**2 + 2 * side * channels) if metric == "euc" else side**2 + 2 * side * channels * parts
    assert max_bytes / 2 < 8 * numbers <= max_bytes


def test_user_mistakes() -> None:
    with pytest.raises(UserError, match=r"unknown distance 'l2'; choose one of euc, cos"):
        pairwise_distance(features(2), features(2), "l2")
    with pytest.raises(UserError, match=r"\(2, 5, 3\).*\(2, 6, 3\)"):
        pairwise_distance(features(2), features(2, 6))


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_TILE", 512)


def exact(probe: torch.Tensor, gallery: torch.Tensor, metric: str) -> torch.Tensor:
    if metric == "cos":
        probe, gallery = (torch.nn.functional.normalize(x.double(), dim=1, eps=1e-300) for x in (probe, gallery))
        return torch.stack([1 - (x * gallery).sum(1).mean(1) for x in probe])
    return torch.stack([(x.double() - gallery.double()).square().sum(1).sqrt().mean(1) for x in probe])


def many(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features enough for tiles of float32, of kinds that make it hard to be exact."""
    probe, gallery = features(600, 16, 3), features(700, 16, 3, seed=1)
    if kind == "a few near":
        gallery[::50] = probe[:14] + 1e-3 * gallery[::50]
    if kind == "all near":
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


KINDS = ["plain", "a few near", "all near", "pairs", "two clusters", "huge", "one huge", "tiny"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_in_float32_are_as_exact(metric: str, kind: str) -> None:
    for dtype in (torch.float32, torch.float64, torch.float16) if kind == "plain" else (torch.float32,):
        probe, gallery = (x.to(dtype) for x in many(kind))
        found = pairwise_distance(probe.requires_grad_(), gallery, metric)
        assert not found.requires_grad
        # For the cosine of near vectors, float64 keeps an absolute error, too.
        atol = 1e-14 if metric == "cos" else 0
        torch.testing.assert_close(found.double(), exact(probe.detach(), gallery, metric), rtol=2e-6, atol=atol)


def test_tiles_keep_bits_zeros_and_ties() -> None:
    probe, gallery = many("a few near")
    gallery = torch.cat([gallery, gallery[:300], probe[:9]])
    whole = pairwise_distance(probe, gallery)
    assert torch.equal(pairwise_distance(probe, gallery, max_bytes=1), whole)
    assert [rows.start for rows, _ in distance_blocks(probe, gallery, max_bytes=1)] == [0, 512]
    assert torch.equal(whole[:, :300], whole[:, 700:1000])  # the same sequence again, in another tile
    assert (whole[:9, 1000:].diagonal() == 0).all()
    rows, columns = torch.arange(599, -1, -1), torch.arange(3, 700)
    ((_, chosen),) = distance_blocks(probe, gallery, probe_rows=rows, gallery_rows=columns)
    torch.testing.assert_close(chosen, whole[rows][:, columns], atol=0, rtol=1e-6)
