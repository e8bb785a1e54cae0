"""The recorded loss curve, and how it is made.

Training is chaotic: what processors and orders of summing do to the last bit of float32 shows in the third digit after
eight iterations. In float64 it does not, so that is what is recorded.

To record it anew: `PYTHONPATH=lib:tests python tests/golden.py`, and say why in the changelog.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from dygait.data import Batch
from dygait.engine import build
from experiments import REPOSITORY, make_experiment

CURVE = REPOSITORY / "tests" / "assets" / "losses_tiny.json"
KEYS = ("triplet/loss", "triplet/mean_dist", "softmax/loss", "gradient_norm", "lr")


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Within a `with` block, networks are built and fed in float64."""
    build_network, scaled = build.build_network, Batch.scaled
    with (
        mock.patch.object(build, "build_network", lambda *arguments: build_network(*arguments).double()),
        mock.patch.object(Batch, "scaled", lambda self, divisors: scaled(self, divisors).double()),
    ):
        yield


def curve(folder: Path) -> dict[str, list[float]]:
    """Train eight iterations and return what was reported of them."""
    rows = make_experiment(folder).train(
        "trainer_cfg.total_iter=8", "trainer_cfg.save_iter=8", "optimizer_cfg={solver: SGD, lr: 0.0005, momentum: 0.9}",
        "trainer_cfg.sampler.batch_shuffle=true", "trainer_cfg.sampler.frames_skip_num=1",
    )  # fmt: skip
    return {key: [row[key] for row in rows] for key in KEYS}


def recorded() -> dict[str, list[float]]:
    """Return the curve as it was recorded, on a CPU."""
    found: dict[str, list[float]] = json.loads(CURVE.read_text())
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, in_float64():
        CURVE.write_text(json.dumps(curve(Path(made)), indent=1) + "\n")
