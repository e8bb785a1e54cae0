import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation.reranking import ReRank, blocks_between, nearest_k
from reference import metrics as reference


def reranked(
    features: torch.Tensor, probes: int, re_rank: ReRank, metric: str = "euc", max_bytes: int = 2**20
) -> np.ndarray:
    rows = np.arange(len(features))
    distances = np.full((probes, len(features) - probes), np.nan)
    for block, distance in blocks_between(features, rows[:probes], rows[probes:], re_rank, metric, max_bytes):
        distances[block] = distance.numpy()
    return distances


def reference_reranked(features: torch.Tensor, probes: int, re_rank: ReRank, metric: str = "euc") -> np.ndarray:
    vectors = features.tolist()
    distances = [[reference.distance(x, y, metric) for y in vectors] for x in vectors]
    return np.array(reference.reranked(distances, probes, re_rank.k1, re_rank.k2, re_rank.weight))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=14),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.data(),
)
def test_equals_the_reference_with_ties(
    points: list[tuple[int, int]], k1: int, k2: int, weight: float, data: st.DataObject
) -> None:
    probes = data.draw(st.integers(1, len(points) - 1))
    features = torch.tensor(points, dtype=torch.float32)[:, :, None]
    re_rank = ReRank(k1, k2, weight)
    np.testing.assert_allclose(
        reranked(features, probes, re_rank), reference_reranked(features, probes, re_rank), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("metric", ["euc", "cos"])
def test_equals_the_reference_on_clusters(metric: str) -> None:
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(5, 1, 4, 2, generator=generator).expand(5, 6, 4, 2).reshape(30, 4, 2)
    features = (means + 0.7 * torch.randn(30, 4, 2, generator=generator))[torch.randperm(30, generator=generator)]
    for re_rank in (ReRank(), ReRank(20, 6, 0.3), ReRank(5, 1, 0.5)):
        expected = reference_reranked(features, 11, re_rank, metric)
        for max_bytes in (1, 2**20):
            np.testing.assert_allclose(reranked(features, 11, re_rank, metric, max_bytes), expected, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(1, 6))
def test_nearest_k_equals_a_stable_sort(rows: list[list[int]], k: int) -> None:
    distance = torch.tensor(rows, dtype=torch.float32)
    assert torch.equal(nearest_k(distance, k), distance.argsort(dim=1, stable=True)[:, :k])
