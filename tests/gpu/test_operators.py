"""Every operator of a training step of each model on the GPU against the CPU; the first that differs is named."""

from pathlib import Path

import pytest
import torch

from dygait.training.trainer import build_trainer
from helpers.networks import LENGTHS, SIX, batch_of, config_of
from helpers.operators import OperatorCheck, OperatorError

PRECISION = {
    "float32": (),
    "float16": ("trainer_cfg.enable_float16=true", "trainer_cfg.half_type=float16"),
    "bfloat16": ("trainer_cfg.enable_float16=true", "trainer_cfg.half_type=bfloat16"),
}


@pytest.mark.parametrize("kind", PRECISION)
@pytest.mark.parametrize("name", SIX)
def test_every_operator_of_a_step(tmp_path: Path, device: torch.device, name: str, kind: str) -> None:
    """Forward, losses, backward, loss scaling, clipping, optimiser, averaged weights; padded batches."""
    settings = ("trainer_cfg.ema=0.9", "trainer_cfg.grad_clip_norm=1", *PRECISION[kind])
    trainer = build_trainer(config_of(name, tmp_path, *settings), device)
    trainer.training_mode()
    trainer.scaler = torch.amp.GradScaler(device.type, init_scale=16.0, enabled=kind == "float16")
    with OperatorCheck() as check:
        trainer.step(batch_of(LENGTHS))
    assert {"convolution", "convolution_backward", "bmm", "_fused_adamw_"} <= check.compared
    assert trainer.guard.state()["skipped"] == 0


def test_a_wrong_operator_is_named(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: here the operator on the CPU gets other inputs."""
    x = torch.ones(3, device=device)
    monkeypatch.setattr(
        "helpers.operators._on_cpu", lambda leaf, in_float64: leaf.cpu() * 2 if torch.is_tensor(leaf) else leaf
    )
    with OperatorCheck(), pytest.raises(OperatorError, match=r"aten\.add"):
        x.add(1)


def test_a_dtype_argument_is_compared_in_float64(device: torch.device) -> None:
    """As autocast on a GPU passes it to norms."""
    with OperatorCheck() as check:
        torch.linalg.vector_norm(torch.ones(3, device=device), dtype=torch.float32)
    assert "linalg_vector_norm" in check.compared
