"""No step waits for the device: whole steps of every model, with all that a step can have, where every read fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.training.trainer import Trainer, build_trainer
from helpers.networks import LENGTHS, SIX, batch_of, config_of
from helpers.waiting import NoWaiting, WaitedError, meta_as_a_gpu, no_waiting

EVERYTHING = (
    "trainer_cfg.enable_float16=true",
    "trainer_cfg.half_type=float16",
    "trainer_cfg.grad_clip_norm=1",
    "trainer_cfg.spike_factor=10",
    "trainer_cfg.ema=0.9",
    "trainer_cfg.accumulate=2",
    "optimizer_cfg.fused=true",
)


def trainer_on(device: str, name: str, folder: Path, *overrides: str) -> Trainer:
    trainer = build_trainer(config_of(name, folder, *EVERYTHING, *overrides), torch.device(device))
    trainer.training_mode()
    assert trainer.scaler.is_enabled()
    return trainer


def tensors_of(trainer: Trainer) -> Iterator[torch.Tensor]:
    """Everything that a step reads or writes and a GPU would hold, but what the batch brings."""
    assert trainer.average is not None
    for network in (trainer.network, trainer.average.network):
        yield from network.state_dict().values()


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["fixed", "unfixed"])
@pytest.mark.parametrize("name", SIX)
class TestAStep:
    def test_reads_nothing_on_a_cpu(self, tmp_path: Path, name: str, lengths: list[int] | None) -> None:
        """The first step overflows in half precision and is left out, the others are taken."""
        trainer = trainer_on("cpu", name, tmp_path)
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-38)
        batches = [batch_of(lengths, seed=i) for i in range(3)]
        owned = [t for batch in batches for t in (batch.silhouettes, batch.labels)]
        with no_waiting([*tensors_of(trainer), *owned]):
            for batch in batches:
                trainer.step(batch, [255.0])
        trainer.guard.read()
        assert [iteration for iteration, _ in trainer.guard.unreported] == [1]

    def test_reads_nothing_on_meta(self, tmp_path: Path, name: str, lengths: list[int] | None) -> None:
        """There each tensor's device is known, so that copies that wait and mixtures are found, too."""
        with meta_as_a_gpu():
            trainer = trainer_on("meta", name, tmp_path)
            with no_waiting():
                for seed in range(2):
                    statistics = trainer.step(batch_of(lengths, seed=seed), [255.0])
        assert {tensor.device.type for tensor in statistics.values()} == {"meta"}


def masked(x: torch.Tensor) -> None:
    x[x > 0]


def put_by_mask(x: torch.Tensor) -> None:
    x[x > 0] = 1


HERE: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool(x.sum() > 1),
    "nonzero": lambda x: x.nonzero(),
    "a mask": masked,
    "assigning by a mask": put_by_mask,
    "masked_select": lambda x: x.masked_select(x > 0),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "unique": lambda x: x.unique(),
    "a result of a result": lambda x: (x.view(-1)[:2] * 2).relu().max().item(),
}
ON_META_TOO: dict[str, Callable[[torch.Tensor], Any]] = {
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
    "a copy that waits": lambda x: torch.ones(3).to(x.device),
    "copy_ that waits": lambda x: x.copy_(torch.ones(3)),
    "a sum of both": lambda x: x + torch.ones(3),
    "indexed by the host": lambda x: x[torch.tensor([0, 1])],
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
}


class TestTheMode:
    """A check that cannot fail is none."""

    @pytest.mark.parametrize("read", HERE)
    def test_finds_reads_on_a_cpu(self, read: str) -> None:
        x = torch.ones(3)
        with NoWaiting():
            HERE[read](x)  # the host's own
        with NoWaiting([x]), pytest.raises(WaitedError):
            HERE[read](x)

    @pytest.mark.parametrize("read", [*HERE, *ON_META_TOO])
    def test_finds_reads_on_meta(self, read: str) -> None:
        with no_waiting(), pytest.raises(WaitedError):
            {**HERE, **ON_META_TOO}[read](torch.ones(3, device="meta"))

    def test_passes_what_does_not_wait(self) -> None:
        x = torch.ones(3, device="meta")
        with no_waiting():
            index = torch.tensor([True, False, True]).nonzero().squeeze(1).to("meta", non_blocking=True)
            x[index] += torch.tensor(2.0) * x.sum() + 1
            x.copy_(torch.ones(3), non_blocking=True)
