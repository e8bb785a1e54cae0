"""Two processes with NCCL, on a machine with two GPUs: BatchNorm over both, and the gradients of one process."""

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


def step_results(trainer: Trainer, batch: Batch) -> dict[str, dict[str, torch.Tensor]]:
    trainer.training_mode()
    trainer.step(batch)
    gradients = {name: p.grad.cpu() for name, p in trainer.network.named_parameters() if p.grad is not None}
    return {"gradients": gradients, "statistics": {name: b.cpu() for name, b in trainer.network.named_buffers()}}


def steps_on_a_share(folder: str, kind: str) -> dict[str, Any]:
    rank = distributed.rank()
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    rank_folder = Path(folder) / str(rank)
    rank_folder.mkdir()
    results: dict[str, Any] = {}
    for name in WITH_NORMS:
        trainer = build_trainer(config_of(name, rank_folder, *SETTINGS), device)
        norms = {type(m) for m in trainer.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
        assert all("Sync" in norm.__name__ for norm in norms), norms
        batch, share = batch_of(count=8), slice(4 * rank, 4 * rank + 4)
        batch = Batch(batch.silhouettes[share], None, batch.labels[share], batch.sequences[share])
        results[name] = step_results(trainer, batch)
    results["gathered"] = distributed.all_gather_object(rank)
    results["mean"] = distributed.mean_over_processes({"rank": float(rank)}, device)
    return results


def test_two_processes_equal_one(tmp_path: Path, device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("one GPU: NCCL and SyncBatchNorm between two have not run")
    backend = "nccl" if device.type == "cuda" else "gloo"
    (tmp_path / "group").mkdir()
    results = in_processes(steps_on_a_share, 2, tmp_path / "group", str(tmp_path), device.type, backend=backend)
    assert all(s["gathered"] == [0, 1] and s["mean"] == {"rank": 0.5} for s in results)
    for name in WITH_NORMS:
        single = step_results(build_trainer(config_of(name, tmp_path, *SETTINGS), device), batch_of(count=8))
        total_norm = float(torch.stack([g.norm() for g in single["gradients"].values()]).norm())
        for actual in (s[name] for s in results):
            for part, expected in single["gradients"].items():
                error = float((actual["gradients"][part] - expected).norm())
                assert error < 1e-3 * (float(expected.norm()) + 1e-2 * total_norm), f"{name}: gradient of {part}"
            for part, buffer in single["statistics"].items():
                torch.testing.assert_close(actual["statistics"][part], buffer, rtol=1e-3, atol=1e-4, msg=part)
