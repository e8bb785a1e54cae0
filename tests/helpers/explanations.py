"""An explanation of random numbers, without a network."""

import numpy as np

from dygait.explaining.energies import PHASES
from dygait.explaining.pictures import Film, film
from dygait.reporting.explanation import BranchResponse, Explanation

PARTS = ("head", "trunk", "arms", "thighs", "shanks", "feet", "carried", "beyond")


def make_explanation() -> tuple[Explanation, list[Film]]:
    """Return an explanation with every part, so that its page is the longest there is, and a film of it."""
    rng = np.random.default_rng(0)
    count = len(PARTS)

    def response() -> BranchResponse:
        shares = rng.dirichlet(np.ones(count))
        cycle = np.abs(shares[:, None] + 0.05 * np.sin(2 * np.pi * PHASES))
        return BranchResponse(1 / 3, shares.tolist(), (count * shares).tolist(), cycle.tolist())

    explanation = Explanation(
        name="<b>a-rather-long-name-of-a-run-</b>" * 3,
        iteration=60,
        data="syngait://?" + "&".join(f"key{n}=value" for n in range(30)),
        fingerprint="abc",
        sequences=[("001", "nm-05", "090")] * 20,
        parts=list(PARTS),
        known=True,
        cycle="gait cycle",
        phases=PHASES.tolist(),
        dynamic=True,
        dams={f"dam{n}": {branch: response() for branch in ("global", "dynamic", "spatial")} for n in range(3)},
    )
    frames = np.where(rng.random((12, 32, 22)) > 0.5, 255, 0).astype(np.uint8)
    labels = rng.integers(0, count, (12, 64, 64)).astype(np.uint8)
    maps = {f"dam{n}": {branch: rng.random((4, 16, 11)) for branch in ("dynamic", "spatial")} for n in range(3)}
    return explanation, [film("001/nm-05/090", frames, labels, maps)]
