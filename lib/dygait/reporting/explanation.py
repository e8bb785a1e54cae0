"""Responses of the branches of a DyGait, as `dygait explain` writes them to a run's folder.

P parts of the body, the last of which is the area outside of the silhouette; K phases of the cycle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dygait import untrusted
from dygait.errors import UserError
from dygait.files import write_atomically

FOLDER, FILE, STRIP = "explain", "explain.json", "strip.png"
"""Below a run's folder: the folder of the explanation, its JSON file, and the picture that the report shows."""
SHOWN_BRANCHES = ("dynamic", "spatial")
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class BranchResponse:
    """The energy of one branch of one DAM, averaged over sequences of equal weight."""

    strength: float  # its share of the energy of all branches of the DAM, 0 to 1
    shares: list[float]  # (P,), the share of each part in its energy, 0 to 1
    densities: list[float]  # (P,), the energy per pixel of each part, relative to the mean over the body
    cycle: list[list[float]] | None  # (P, K), the energy of each part at each phase; its sum over parts has the mean 1


@dataclass(frozen=True, config=_STRICT)
class Explanation:
    """The responses of the branches of a run's DAMs."""

    name: str  # of the run, the checkpoint or the weights
    iteration: int
    data: str  # the address or the folder
    fingerprint: str
    sequences: list[tuple[str, str, str]]  # (id, type, view)
    parts: list[str]  # (P,)
    known: bool  # whether the parts are SynGait's true body parts; else strips of the silhouette
    cycle: Literal["gait cycle", "step"] | None  # what the phases are of; None if no sequence has a regular step
    phases: list[float]  # (K,), 0 to 1
    dynamic: bool  # whether the dynamic branch subtracts the temporal mean
    dams: dict[str, dict[str, BranchResponse]]  # by DAM and by branch
    format: Literal["dygait-explain"] = "dygait-explain"


_ADAPTER = TypeAdapter(Explanation)


def save_explanation(explanation: Explanation, path: Path) -> None:
    """Write an explanation as JSON; errors as `dygait.files.write_atomically`."""
    write_atomically(path, _ADAPTER.dump_json(explanation, indent=1).decode() + "\n")


def load_explanation(path: Path) -> Explanation:
    """Read an explanation; UserError if the file is not one."""
    try:
        return _ADAPTER.validate_json(untrusted.read_bytes(path))
    except (OSError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is no explanation ({reason}): run `dygait explain` again") from None
