"""The energy of the branches by body part, and over the cycle of the walk.

S frames of H x W pixels of a network's input; S', H', W' of the map of a DAM; P parts, the last of which is what is
beyond the silhouette; K phases of the cycle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dygait.reporting.explanation import BranchResponse

MERGED = 3
"""Frames that the network's temporal aggregation merges."""
PHASES = np.arange(25) / 24
_CONCENTRATION = 40.0
"""Of the von Mises kernel that smooths over the cycle: a standard deviation of 2.5 percent."""

Maps = Mapping[str, Mapping[str, np.ndarray]]
"""By DAM and by branch: float (S', H', W')."""


@dataclass(frozen=True)
class SequenceEnergies:
    """The energies of one sequence."""

    energies: dict[str, dict[str, np.ndarray]]  # by DAM and by branch: float (P, S')
    areas: dict[str, np.ndarray]  # by DAM: float (P, S'), in cells of the map
    phases: dict[str, np.ndarray] | None  # by DAM: float (S',), in cycles; None if not known

    def of_parts(self, chosen: Sequence[int]) -> SequenceEnergies:
        """Return the energies of some of the parts."""
        energies = {
            dam: {name: energy[chosen] for name, energy in branches.items()} for dam, branches in self.energies.items()
        }
        return SequenceEnergies(energies, {dam: area[chosen] for dam, area in self.areas.items()}, self.phases)


def by_part(maps: Maps, coverage: np.ndarray, phase: np.ndarray | None) -> SequenceEnergies:
    """Sum the energies of one sequence over the pixels of each part.

    Args:
        maps: as `dygait.modeling.branches.branch_energies` returns them.
        coverage: float (P, S, H, W) in 0..1, the share of each pixel of the input that each part covers.
        phase: float (S,) in cycles, None if it is not known.
    """
    energies, areas, phases = {}, {}, {}
    for dam, branches in maps.items():
        shape = next(iter(branches.values())).shape
        cells = pool(coverage, shape)
        energies[dam] = {name: np.einsum("shw,pshw->ps", energy, cells) for name, energy in branches.items()}
        areas[dam] = cells.sum((2, 3))
        if phase is not None:
            merged = 1 if shape[0] == coverage.shape[1] else MERGED
            phases[dam] = phase[: shape[0] * merged].reshape(shape[0], merged).mean(1)
    return SequenceEnergies(energies, areas, None if phase is None else phases)


def pool(coverage: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Average (P, S, H, W) over the frames and pixels of each cell of a map: (P, S', H', W')."""
    frames, height, width = shape
    merged = 1 if frames == coverage.shape[1] else MERGED
    side = coverage.shape[2] // height
    seen = coverage[:, : frames * merged, : height * side, : width * side]
    return seen.reshape(len(coverage), frames, merged, height, side, width, side).mean((2, 4, 6))


def summarise(sequences: Sequence[SequenceEnergies]) -> dict[str, dict[str, BranchResponse]]:
    """Average over sequences, each of equal weight, by DAM and by branch."""
    return {
        dam: {branch: _response(sequences, dam, branch) for branch in branches}
        for dam, branches in sequences[0].energies.items()
    }


def _response(sequences: Sequence[SequenceEnergies], dam: str, branch: str) -> BranchResponse:
    strengths, shares, densities = [], [], []
    for one in sequences:
        energy, area = one.energies[dam][branch].sum(1), one.areas[dam].sum(1)
        whole = sum(float(other.sum()) for other in one.energies[dam].values())
        strengths.append(energy.sum() / whole if whole else 0.0)
        shares.append(_divided(energy, energy.sum()))
        densities.append(_divided(_divided(energy, area), energy[:-1].sum() / max(area[:-1].sum(), 1e-12)))
    return BranchResponse(
        strength=float(np.mean(strengths)),
        shares=np.mean(shares, 0).tolist(),
        densities=np.mean(densities, 0).tolist(),
        cycle=_over_the_cycle(sequences, dam, branch),
    )


def _over_the_cycle(sequences: Sequence[SequenceEnergies], dam: str, branch: str) -> list[list[float]] | None:
    """Return the energy of each part at each phase, (P, K) nested lists, where the mean of all parts over time is 1."""
    phases, energies = [], []
    for one in sequences:
        if one.phases is not None:
            energy = one.energies[dam][branch]
            phases.append(one.phases[dam])
            energies.append(_divided(energy, energy.sum(0).mean()))
    if not phases:
        return None
    away = 2 * np.pi * (PHASES[:, None] - np.concatenate(phases))
    weights = np.exp(_CONCENTRATION * (np.cos(away) - 1))
    weights /= weights.sum(1, keepdims=True)
    return (np.concatenate(energies, 1) @ weights.T).tolist()


def _divided(values: np.ndarray, by: np.ndarray | float) -> np.ndarray:
    """Return values / by, 0 where `by` is 0."""
    return np.divide(values, by, out=np.zeros_like(values), where=np.asarray(by) != 0)
