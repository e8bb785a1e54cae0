import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation.reranking import ReRank, blocks_between, nearest_k
from reference import metrics as reference


def reranked(
    features: torch.Tensor, probes: int, how: ReRank, metric: str = "euc", max_bytes: int = 2**20
) -> np.ndarray:
    rows = np.arange(len(features))
    found = np.full((probes, len(features) - probes), np.nan)
    for block, distance in blocks_between(features, rows[:probes], rows[probes:], how, metric, max_bytes):
        found[block] = distance.numpy()
    return found


def plainly(features: torch.Tensor, probes: int, how: ReRank, metric: str = "euc") -> np.ndarray:
    vectors = features.tolist()
    distances = [[reference.distance(x, y, metric) for y in vectors] for x in vectors]
    return np.array(reference.reranked(distances, probes, how.k1, how.k2, how.weight))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=14),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.data(),
)
def test_equal_to_the_plain_form_ties_and_all(
    points: list[tuple[int, int]], k1: int, k2: int, weight: float, data: st.DataObject
) -> None:
    probes = data.draw(st.integers(1, len(points) - 1))
    features = torch.tensor(points, dtype=torch.float32)[:, :, None]
    how = ReRank(k1, k2, weight)
    np.testing.assert_allclose(reranked(features, probes, how), plainly(features, probes, how), rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", ["euc", "cos"])
def test_equal_to_the_plain_form_on_people(metric: str) -> None:
    generator = torch.Generator().manual_seed(3)
    people = torch.randn(5, 1, 4, 2, generator=generator).expand(5, 6, 4, 2).reshape(30, 4, 2)
    features = (people + 0.7 * torch.randn(30, 4, 2, generator=generator))[torch.randperm(30, generator=generator)]
    for how in (ReRank(), ReRank(20, 6, 0.3), ReRank(5, 1, 0.5)):
        wanted = plainly(features, 11, how, metric)
        for max_bytes in (1, 2**20):
            np.testing.assert_allclose(reranked(features, 11, how, metric, max_bytes), wanted, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(1, 6))
def test_the_nearest_are_those_of_a_stable_sort(rows: list[list[int]], k: int) -> None:
    distance = torch.tensor(rows, dtype=torch.float32)
    assert torch.equal(nearest_k(distance, k), distance.argsort(dim=1, stable=True)[:, :k])
