"""Sums of energies by part, and means over sequences and the cycle, against plain loops."""

import numpy as np
import pytest

from dygait.explaining.energies import PHASES, SequenceEnergies, by_part, pool, summarise

RNG = np.random.default_rng(0)


def coverage(parts: int, frames: int, height: int, width: int) -> np.ndarray:
    shares = RNG.random((parts, frames, height, width))
    return shares / shares.sum(0)


@pytest.mark.parametrize(
    ("shape", "merged", "side"), [((7, 8, 6), 1, 1), ((7, 4, 3), 1, 2), ((2, 4, 3), 3, 2), ((2, 2, 1), 3, 4)]
)
def test_cells_are_means_of_frames_and_pixels(shape: tuple[int, int, int], merged: int, side: int) -> None:
    shares = coverage(3, 7, 8, 6)
    found = pool(shares, shape)
    for part in range(3):
        for s, y, x in np.ndindex(*shape):
            block = shares[part, s * merged : (s + 1) * merged, y * side : (y + 1) * side, x * side : (x + 1) * side]
            assert found[part, s, y, x] == pytest.approx(block.mean())


def test_energy_by_part() -> None:
    shares, energy = coverage(3, 6, 4, 4), RNG.random((2, 2, 2))
    one = by_part({"dam0": {"dynamic": energy}}, shares, np.arange(6) / 10)
    for part in range(3):
        for s in range(2):
            cells = pool(shares, energy.shape)[part, s]
            assert one.energies["dam0"]["dynamic"][part, s] == pytest.approx((energy[s] * cells).sum())
            assert one.areas["dam0"][part, s] == pytest.approx(cells.sum())
    assert one.energies["dam0"]["dynamic"].sum() == pytest.approx(energy.sum())
    assert one.phases is not None
    assert one.phases["dam0"].tolist() == pytest.approx([0.1, 0.4])
    assert by_part({"dam0": {"dynamic": energy}}, shares, None).phases is None


def sequence(scale: float, phases: dict[str, np.ndarray] | None = None) -> SequenceEnergies:
    energies = {"global": np.full((2, 4), 3.0), "dynamic": np.array([[4.0, 0, 4, 0], [1, 1, 1, 1]])}
    scaled = {name: scale * energy for name, energy in energies.items()}
    return SequenceEnergies({"dam0": scaled}, {"dam0": np.array([[1.0] * 4, [3.0] * 4])}, phases)


def test_sequences_have_equal_weight() -> None:
    alone, both = (summarise(list(map(sequence, scales)))["dam0"]["dynamic"] for scales in ([1.0], [1.0, 100.0]))
    assert alone.shares == pytest.approx(both.shares)
    assert alone.densities == pytest.approx(both.densities)
    dynamic = both
    assert dynamic.strength == pytest.approx(12 / 36)
    assert dynamic.shares == pytest.approx([8 / 12, 4 / 12])
    # The last part is beyond the body: the first is the whole of it, and so at its mean.
    assert dynamic.densities == pytest.approx([1.0, (4 / 12) / (8 / 4)])
    assert dynamic.cycle is None


def test_the_cycle() -> None:
    one = sequence(2.0, {"dam0": np.array([0.0, 0.25, 3.5, 0.75])})
    cycle = summarise([one])["dam0"]["dynamic"].cycle
    assert cycle is not None
    first, beyond = cycle
    assert len(first) == len(PHASES)
    assert beyond == pytest.approx([1 / 3] * len(PHASES))  # 3 is the mean of all parts
    for phase, wanted in ((0.0, 4.0), (0.25, 0.0), (0.5, 4.0), (0.75, 0.0), (1.0, 4.0)):
        assert first[PHASES.tolist().index(phase)] == pytest.approx(wanted / 3, abs=0.01)


def test_no_energy_at_all() -> None:
    nothing = SequenceEnergies({"dam0": {"dynamic": np.zeros((2, 3))}}, {"dam0": np.ones((2, 3))}, None)
    response = summarise([nothing])["dam0"]["dynamic"]
    assert (response.strength, response.shares, response.densities) == (0.0, [0.0, 0.0], [0.0, 0.0])
