"""Two GPUs with NCCL, where there are two: BatchNorm over both, and gradients that are one process's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dygait import distributed
from dygait.data.collate import Batch
from dygait.training.trainer import Trainer, build_trainer
from helpers.networks import batch_of, config_of
from helpers.processes import in_processes

WITH_NORMS = ("GaitBase", "DeepGaitV2", "DyGait")
SETTINGS = ("trainer_cfg.sync_BN=true", "optimizer_cfg={solver: SGD, lr: 0.0001}")


def taken(trainer: Trainer, batch: Batch) -> dict[str, dict[str, torch.Tensor]]:
    trainer.training_mode()
    trainer.step(batch)
    gradients = {name: p.grad.cpu() for name, p in trainer.network.named_parameters() if p.grad is not None}
    return {"gradients": gradients, "statistics": {name: b.cpu() for name, b in trainer.network.named_buffers()}}


def on_a_share(folder: str, kind: str) -> dict[str, Any]:
    rank = distributed.rank()
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    own = Path(folder) / str(rank)
    own.mkdir()
    found: dict[str, Any] = {}
    for name in WITH_NORMS:
        trainer = build_trainer(config_of(name, own, *SETTINGS), device)
        norms = {type(m) for m in trainer.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
        assert all("Sync" in norm.__name__ for norm in norms), norms
        batch, share = batch_of(count=8), slice(4 * rank, 4 * rank + 4)
        found[name] = taken(trainer, Batch(*(t[share] for t in (batch.silhouettes,)), None, batch.labels[share],
                                           batch.sequences[share]))  # fmt: skip
    found["gathered"] = distributed.all_gather_object(rank)
    found["mean"] = distributed.mean_over_processes({"rank": float(rank)}, device)
    return found


def test_two_processes_take_one_s_step(tmp_path: Path, device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("one GPU: NCCL and SyncBatchNorm between two have not run")
    backend = "nccl" if device.type == "cuda" else "gloo"
    (tmp_path / "group").mkdir()
    seen = in_processes(on_a_share, 2, tmp_path / "group", str(tmp_path), device.type, backend=backend)
    assert all(s["gathered"] == [0, 1] and s["mean"] == {"rank": 0.5} for s in seen)
    for name in WITH_NORMS:
        alone = taken(build_trainer(config_of(name, tmp_path, *SETTINGS), device), batch_of(count=8))
        whole = float(torch.stack([g.norm() for g in alone["gradients"].values()]).norm())
        for found in (s[name] for s in seen):
            for part, expected in alone["gradients"].items():
                error = float((found["gradients"][part] - expected).norm())
                assert error < 1e-3 * (float(expected.norm()) + 1e-2 * whole), f"{name}: gradient of {part}"
            for part, buffer in alone["statistics"].items():
                torch.testing.assert_close(found["statistics"][part], buffer, rtol=1e-3, atol=1e-4, msg=part)
