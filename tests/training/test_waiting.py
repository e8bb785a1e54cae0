"""No step synchronises with the device: steps of every model with all options, in a mode where every read fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.training.trainer import build_trainer
from helpers.networks import LENGTHS, SIX, batch_of, config_of
from helpers.waiting import SynchronisationError, meta_as_gpu, no_synchronisation

EVERYTHING = (
    "trainer_cfg.enable_float16=true",
    "trainer_cfg.half_type=float16",
    "trainer_cfg.grad_clip_norm=1",
    "trainer_cfg.spike_factor=10",
    "trainer_cfg.ema=0.9",
    "trainer_cfg.accumulate=2",
    "optimizer_cfg.fused=true",
)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["fixed", "unfixed"])
@pytest.mark.parametrize("name", [*SIX, "GaitSSB_Pretrain", "GaitSSB_Finetune"])
def test_a_step_reads_nothing(tmp_path: Path, name: str, lengths: list[int] | None) -> None:
    with meta_as_gpu():
        trainer = build_trainer(config_of(name, tmp_path, *EVERYTHING), torch.device("meta"))
        trainer.training_mode()
        assert trainer.scaler.is_enabled()
        with no_synchronisation():
            for seed in range(2):
                statistics = trainer.step(batch_of(lengths and 2 * lengths, count=8, seed=seed))
    assert {tensor.device.type for tensor in statistics.values()} == {"meta"}


READS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "assigning by a mask": lambda x: x.__setitem__(x > 0, 1),
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "cpu": lambda x: x.cpu(),
    "a blocking copy": lambda x: torch.ones(3).to(x.device),
    "a blocking copy_": lambda x: x.copy_(torch.ones(3)),
    "a sum of both": lambda x: x + torch.ones(3),
    "indexed by the host": lambda x: x[torch.tensor([0, 1])],
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
}


@pytest.mark.parametrize("read", READS)
def test_reads_are_detected(read: str) -> None:
    with no_synchronisation(), pytest.raises(SynchronisationError):
        READS[read](torch.ones(3, device="meta"))


def test_operations_without_synchronisation_pass() -> None:
    x = torch.ones(3, device="meta")
    with no_synchronisation():
        index = torch.tensor([True, False, True]).nonzero().squeeze(1).to("meta", non_blocking=True)
        x[index] += torch.tensor(2.0) * x.sum() + 1
        x.copy_(torch.ones(3), non_blocking=True)
