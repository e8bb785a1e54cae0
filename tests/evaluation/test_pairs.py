import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation.openset import identify
from dygait.evaluation.verification import FARS, PairDistances, Verification
from reference import metrics as reference

# Few different values, so that many pairs tie.
DISTANCES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0]), min_size=1, max_size=25)


def verify(genuine: np.ndarray, impostor: np.ndarray, fars: Sequence[float] = FARS) -> Verification:
    pairs = PairDistances()
    pairs.add(genuine.astype(np.float32), impostor.astype(np.float32))
    return pairs.verification(fars)


@settings(max_examples=150, deadline=None)
@given(DISTANCES, DISTANCES)
def test_rates_equal_plain_counting(genuine: list[float], impostor: list[float]) -> None:
    actual = verify(np.array(genuine), np.array(impostor), (0.5, 0.3, 0.1, 0.05))
    assert actual.auc == pytest.approx(reference.auc(genuine, impostor), abs=1e-12)
    assert actual.eer == pytest.approx(reference.eer(genuine, impostor), abs=1e-9)
    for far, tar in actual.tar_at_far.items():
        assert tar == pytest.approx(reference.tar_at_far(genuine, impostor, far), nan_ok=True)
    curve = actual.roc
    for far, tar, threshold in zip(*curve, strict=True):
        assert (far, tar) == pytest.approx(reference.rates(genuine, impostor, threshold))
    assert (curve.far[0], curve.tar[0], curve.far[-1], curve.tar[-1]) == (0, 0, 1, 1)


@settings(max_examples=60, deadline=None)
@given(DISTANCES, DISTANCES, st.integers(1, 6))
def test_pairs_added_in_parts_give_the_same_rates(genuine: list[float], impostor: list[float], parts: int) -> None:
    g, i = np.array(genuine, dtype=np.float32), np.array(impostor, dtype=np.float32)
    streamed = PairDistances()
    streamed._BUFFER_SIZE = 3  # type: ignore[misc]
    for part in range(parts):
        streamed.add(g[part::parts], i[part::parts])
    actual, expected = streamed.verification(), verify(g, i)
    assert (actual.genuine, actual.impostor) == (expected.genuine, expected.impostor) == (len(g), len(i))
    assert actual.auc == pytest.approx(expected.auc, abs=1e-12)
    assert actual.eer == pytest.approx(expected.eer, abs=1e-12)
    assert actual.tar_at_far == pytest.approx(expected.tar_at_far, nan_ok=True)


def test_rates_without_pairs_are_nan() -> None:
    for genuine, impostor in ((np.empty(0), np.ones(2)), (np.ones(2), np.empty(0)), (np.empty(0), np.empty(0))):
        rates = verify(genuine, impostor)
        assert math.isnan(rates.auc)
        assert math.isnan(rates.eer)
        assert all(math.isnan(v) for v in rates.tar_at_far.values())
        assert len(rates.roc.far) == 0


SEARCHES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 2.0, math.inf]), st.sampled_from([0.0, 0.5, 1.0, 2.0, math.inf]), st.booleans()
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(SEARCHES, st.sampled_from([0.5, 0.3, 0.1, 0.05]))
def test_open_set_identification_equals_plain_counting(searches: list[tuple[float, float, bool]], fpir: float) -> None:
    match, other = (np.array([s[k] for s in searches]) for k in (0, 1))
    first = np.array([s[2] for s in searches])
    correct = (match < other) | ((match == other) & first & np.isfinite(match))
    actual = identify(match, other, correct, (fpir,)).dir_at_fpir[fpir]
    expected = reference.dir_at_fpir(match.tolist(), other.tolist(), correct.tolist(), fpir)
    assert actual == pytest.approx(expected, nan_ok=True)
