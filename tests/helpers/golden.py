"""The recorded loss curves, and how to record them.

Training is chaotic: a difference in the last bit of float32, which depends on the processor and the order of sums,
reaches the first digit after four iterations. The curves are therefore recorded in float64; a second one has a learning
rate so low that float32 follows it too.

To record them again, run `PYTHONPATH=lib:tests python tests/helpers/golden.py` and give the reason in the changelog.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dygait.data.collate import Batch
from dygait.runs import networks
from helpers.experiments import REPOSITORY, make_experiment

RATES = {"tiny": 0.0005, "gentle": 0.000005}
"""The learning rate of each curve."""
KEYS = ("triplet/loss", "triplet/mean_dist", "softmax/loss", "gradient_norm", "lr")


@contextlib.contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Within a `with` block, build networks and scale their inputs in `dtype`.

    Initial weights are drawn in float64, because those drawn in float32 differ in the last bit between processors.
    """
    build_network, scaled = networks.build_network, Batch.scaled

    def build(*arguments: Any) -> Any:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return build_network(*arguments).to(dtype)
        finally:
            torch.set_default_dtype(before)

    with (
        mock.patch.object(networks, "build_network", build),
        mock.patch.object(Batch, "scaled", lambda self: scaled(self).to(dtype)),
    ):
        yield


def curve(name: str, folder: Path) -> dict[str, list[float]]:
    """Train eight iterations and return their statistics, by name."""
    rows = make_experiment(folder).train(
        "trainer_cfg.total_iter=8", "trainer_cfg.save_iter=8",
        f"optimizer_cfg={{solver: SGD, lr: {RATES[name]:.6f}, momentum: 0.9}}",
        "trainer_cfg.sampler.batch_shuffle=true", "trainer_cfg.sampler.frames_skip_num=1",
    )  # fmt: skip
    return {key: [row[key] for row in rows] for key in KEYS}


def recorded(name: str) -> dict[str, list[float]]:
    """Return a curve that was recorded on a CPU."""
    losses: dict[str, list[float]] = json.loads(_file(name).read_text())
    return losses


def _file(name: str) -> Path:
    return REPOSITORY / "tests" / "assets" / f"losses_{name}.json"


if __name__ == "__main__":
    for rate in RATES:
        with tempfile.TemporaryDirectory() as folder, computing_in(torch.float64):
            _file(rate).write_text(json.dumps(curve(rate, Path(folder)), indent=1) + "\n")
