"""The energy of the branches by body part, and over the gait cycle.

S frames of H x W pixels of a network's input; S', H', W' of a DAM's feature map; P parts, the last of which is the
region beyond the silhouette; K phases of the cycle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dygait.reporting.explanation import BranchResponse

MERGED = 3
"""Number of frames that the network's temporal aggregation merges."""
PHASES = np.arange(25) / 24
_CONCENTRATION = 40.0
"""Concentration of the von Mises kernel that smooths over the cycle; its standard deviation is 2.5 percent."""

Maps = Mapping[str, Mapping[str, np.ndarray]]
"""DAM -> branch -> energies, float (S', H', W')."""


@dataclass(frozen=True)
class SequenceEnergies:
    """The energies of one sequence."""

    energies: dict[str, dict[str, np.ndarray]]  # DAM -> branch -> float (P, S')
    areas: dict[str, np.ndarray]  # DAM -> float (P, S'), in cells of the feature map
    phases: dict[str, np.ndarray] | None  # DAM -> float (S',), in cycles; None if unknown

    def of_parts(self, indices: Sequence[int]) -> SequenceEnergies:
        """Return the energies of the parts with these indices."""
        energies = {
            dam: {name: energy[indices] for name, energy in branches.items()} for dam, branches in self.energies.items()
        }
        return SequenceEnergies(energies, {dam: area[indices] for dam, area in self.areas.items()}, self.phases)


def by_part(maps: Maps, coverage: np.ndarray, phase: np.ndarray | None) -> SequenceEnergies:
    """Sum the energies of one sequence over the pixels of each part.

    Args:
        maps: as `dygait.modeling.branches.branch_energies` returns them.
        coverage: float (P, S, H, W) in 0..1, the share of each input pixel that each part covers.
        phase: float (S,) in cycles; None if unknown.
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
    """Average (P, S, H, W) over the frames and pixels of each cell of a feature map: (P, S', H', W')."""
    frames, height, width = shape
    merged = 1 if frames == coverage.shape[1] else MERGED
    side = coverage.shape[2] // height
    cropped = coverage[:, : frames * merged, : height * side, : width * side]
    return cropped.reshape(len(coverage), frames, merged, height, side, width, side).mean((2, 4, 6))


def summarise(sequences: Sequence[SequenceEnergies]) -> dict[str, dict[str, BranchResponse]]:
    """Average over sequences, with equal weights, for each DAM and branch."""
    return {
        dam: {branch: _response(sequences, dam, branch) for branch in branches}
        for dam, branches in sequences[0].energies.items()
    }


def _response(sequences: Sequence[SequenceEnergies], dam: str, branch: str) -> BranchResponse:
    strengths, shares, densities = [], [], []
    for sequence in sequences:
        energy, area = sequence.energies[dam][branch].sum(1), sequence.areas[dam].sum(1)
        total = sum(float(energies.sum()) for energies in sequence.energies[dam].values())
        strengths.append(energy.sum() / total if total else 0.0)
        shares.append(_divide(energy, energy.sum()))
        densities.append(_divide(_divide(energy, area), energy[:-1].sum() / max(area[:-1].sum(), 1e-12)))
    return BranchResponse(
        strength=float(np.mean(strengths)),
        shares=np.mean(shares, 0).tolist(),
        densities=np.mean(densities, 0).tolist(),
        cycle=_average_cycle(sequences, dam, branch),
    )


def _average_cycle(sequences: Sequence[SequenceEnergies], dam: str, branch: str) -> list[list[float]] | None:
    """Return the energy of each part at each phase, nested lists (P, K), relative to the mean energy of all parts."""
    phases, energies = [], []
    for sequence in sequences:
        if sequence.phases is not None:
            energy = sequence.energies[dam][branch]
            phases.append(sequence.phases[dam])
            energies.append(_divide(energy, energy.sum(0).mean()))
    if not phases:
        return None
    angles = 2 * np.pi * (PHASES[:, None] - np.concatenate(phases))
    weights = np.exp(_CONCENTRATION * (np.cos(angles) - 1))
    weights /= weights.sum(1, keepdims=True)
    return (np.concatenate(energies, 1) @ weights.T).tolist()


def _divide(values: np.ndarray, by: np.ndarray | float) -> np.ndarray:
    """Return values / by, 0 where `by` is 0."""
    return np.divide(values, by, out=np.zeros_like(values), where=np.asarray(by) != 0)
