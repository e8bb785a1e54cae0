"""Energies by part, and their means over sequences and over the gait cycle, against plain loops."""

import numpy as np
import pytest

from dygait.explaining.energies import PHASES, SequenceEnergies, by_part, pool, summarise

RNG = np.random.default_rng(0)


def coverage(parts: int, frames: int, height: int, width: int) -> np.ndarray:
    shares = RNG.random((parts, frames, height, width))
    return shares / shares.sum(0)


@pytest.mark.parametrize(
    ("shape", "frames", "side"), [((7, 8, 6), 1, 1), ((7, 4, 3), 1, 2), ((2, 4, 3), 3, 2), ((2, 2, 1), 3, 4)]
)
def test_cells_are_means_of_frames_and_pixels(shape: tuple[int, int, int], frames: int, side: int) -> None:
    shares = coverage(3, 7, 8, 6)
    pooled = pool(shares, shape)
    for part in range(3):
        for s, y, x in np.ndindex(*shape):
            block = shares[part, s * frames : (s + 1) * frames, y * side : (y + 1) * side, x * side : (x + 1) * side]
            assert pooled[part, s, y, x] == pytest.approx(block.mean())


def test_energy_by_part() -> None:
    shares, energy = coverage(3, 6, 4, 4), RNG.random((2, 2, 2))
    actual = by_part({"dam0": {"dynamic": energy}}, shares, np.arange(6) / 10)
    for part in range(3):
        for s in range(2):
            cells = pool(shares, energy.shape)[part, s]
            assert actual.energies["dam0"]["dynamic"][part, s] == pytest.approx((energy[s] * cells).sum())
            assert actual.areas["dam0"][part, s] == pytest.approx(cells.sum())
    assert actual.energies["dam0"]["dynamic"].sum() == pytest.approx(energy.sum())
    assert actual.phases is not None
    assert actual.phases["dam0"].tolist() == pytest.approx([0.1, 0.4])
    assert by_part({"dam0": {"dynamic": energy}}, shares, None).phases is None


def sequence(scale: float, phases: dict[str, np.ndarray] | None = None) -> SequenceEnergies:
    energies = {"global": np.full((2, 4), 3.0), "dynamic": np.array([[4.0, 0, 4, 0], [1, 1, 1, 1]])}
    scaled = {name: scale * energy for name, energy in energies.items()}
    return SequenceEnergies({"dam0": scaled}, {"dam0": np.array([[1.0] * 4, [3.0] * 4])}, phases)


def test_sequences_have_equal_weight() -> None:
    single, both = (summarise(list(map(sequence, scales)))["dam0"]["dynamic"] for scales in ([1.0], [1.0, 100.0]))
    assert single.shares == pytest.approx(both.shares)
    assert single.densities == pytest.approx(both.densities)
    assert both.strength == pytest.approx(12 / 36)
    assert both.shares == pytest.approx([8 / 12, 4 / 12])
    # The last part is beyond the body: the first is the whole body, and so its density is the mean.
    assert both.densities == pytest.approx([1.0, (4 / 12) / (8 / 4)])
    assert both.cycle is None


def test_the_cycle() -> None:
    energies = sequence(2.0, {"dam0": np.array([0.0, 0.25, 3.5, 0.75])})
    cycle = summarise([energies])["dam0"]["dynamic"].cycle
    assert cycle is not None
    first, beyond = cycle
    assert len(first) == len(PHASES)
    assert beyond == pytest.approx([1 / 3] * len(PHASES))  # 3 is the mean of all parts
    for phase, expected in ((0.0, 4.0), (0.25, 0.0), (0.5, 4.0), (0.75, 0.0), (1.0, 4.0)):
        assert first[PHASES.tolist().index(phase)] == pytest.approx(expected / 3, abs=0.01)


def test_no_energy_at_all() -> None:
    nothing = SequenceEnergies({"dam0": {"dynamic": np.zeros((2, 3))}}, {"dam0": np.ones((2, 3))}, None)
    response = summarise([nothing])["dam0"]["dynamic"]
    assert (response.strength, response.shares, response.densities) == (0.0, [0.0, 0.0], [0.0, 0.0])
