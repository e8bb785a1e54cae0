"""Training steps on the GPU: every precision against the CPU, compilation, synchronisation and memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dygait.runs import compilation
from dygait.training.trainer import Trainer, build_trainer
from helpers.golden import RATES, computing_in, curve, recorded
from helpers.networks import LENGTHS, SIX, batch_of, config_of

SGD = "optimizer_cfg={solver: SGD, lr: 0.0001, momentum: 0.9}"
HALF = {"float16": 0.05, "bfloat16": 0.2}
"""The relative tolerance of losses to those in float32."""
CPU = torch.device("cpu")
Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that builds a trainer with the same initial weights on every device."""

    def build(device: torch.device, name: str, *overrides: str) -> Trainer:
        trainer = build_trainer(config_of(name, tmp_path, SGD, *overrides), device)
        trainer.training_mode()
        return trainer

    return build


def losses(trainer: Trainer, lengths: list[int] | None = None, steps: int = 1) -> list[dict[str, float]]:
    """Take steps and return their statistics, except counts, which are not continuous."""
    rows = [trainer.step(batch_of(lengths, seed=i)) for i in range(steps)]
    names = ("triplet/loss", "triplet/mean_dist", "softmax/loss", "gradient_norm")
    return [{name: float(row[name]) for name in names if name in row} for row in rows]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["fixed", "unfixed"])
@pytest.mark.parametrize("name", SIX)
class TestPrecision:
    def test_float32(self, make: Make, device: torch.device, name: str, lengths: list[int] | None) -> None:
        """Losses to 1e-4, each gradient to 1e-3 of the sum of its norm and a thousandth of the total norm."""
        actual, expected = make(device, name), make(CPU, name)
        assert losses(actual, lengths)[0] == pytest.approx(losses(expected, lengths)[0], rel=1e-4)
        gradients = dict(expected.network.named_parameters())
        total_norm = float(torch.stack([p.grad.norm() for p in gradients.values() if p.grad is not None]).norm())
        for part, parameter in actual.network.named_parameters():
            expected_gradient = gradients[part].grad
            if expected_gradient is not None:
                assert parameter.grad is not None, part
                error = float((parameter.grad.cpu() - expected_gradient).norm())
                assert error < 1e-3 * (float(expected_gradient.norm()) + 1e-3 * total_norm), f"gradient of {part}"
        for part, buffer in actual.network.named_buffers():
            torch.testing.assert_close(buffer.cpu(), expected.network.get_buffer(part), rtol=1e-4, atol=1e-5, msg=part)

    @pytest.mark.parametrize("kind", HALF)
    def test_half_is_near_float32(
        self, make: Make, device: torch.device, name: str, lengths: list[int] | None, kind: str
    ) -> None:
        """In float32 on the GPU and on the CPU; float16 with loss scaling."""
        half = make(device, name, "trainer_cfg.enable_float16=true", f"trainer_cfg.half_type={kind}")
        assert half.scaler.is_enabled() == (kind == "float16")
        half.scaler = torch.amp.GradScaler(device.type, init_scale=16.0, enabled=kind == "float16")
        (actual,) = losses(half, lengths)
        for other_device in {device, CPU}:
            (expected,) = losses(make(other_device, name), lengths)
            assert actual == pytest.approx(expected, rel=HALF[kind], abs=1e-3), other_device
        assert all(p.dtype == torch.float32 for p in half.network.parameters())

    def test_a_scale_that_overflows_is_lowered(
        self, make: Make, device: torch.device, name: str, lengths: list[int] | None
    ) -> None:
        trainer = make(device, name, "trainer_cfg.enable_float16=true", "trainer_cfg.half_type=float16")
        trainer.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**60, backoff_factor=2.0**-60)
        before = [p.detach().clone() for p in trainer.network.parameters()]
        losses(trainer, lengths)
        assert all(map(torch.equal, before, trainer.network.parameters()))
        losses(trainer, lengths)
        assert not all(map(torch.equal, before, trainer.network.parameters()))
        assert trainer.guard.state()["skipped"] == 1


@pytest.mark.parametrize("name", RATES)
def test_the_loss_curve_is_the_recorded_one(tmp_path: Path, name: str) -> None:
    """Of a run in float64, to 1e-6."""
    with computing_in(torch.float64):
        actual = curve(name, tmp_path)
    for key, values in recorded(name).items():
        assert actual[key] == pytest.approx(values, rel=1e-6), key


def test_float32_follows_the_gentle_curve(tmp_path: Path) -> None:
    """To 5e-4 in all iterations; on a CPU the difference is 2e-5."""
    with computing_in(torch.float32):
        actual = curve("gentle", tmp_path)
    for key, values in recorded("gentle").items():
        assert actual[key] == pytest.approx(values, rel=5e-4), key


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "GaitSet" else pytest.mark.cuda) for n in SIX])
def test_compiled_is_the_plain_step(
    make: Make, device: torch.device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Triton on a GPU; on a CPU the traced graph is run without a compiler."""
    if device.type == "cpu":
        monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    settings = ("model_cfg.checkpointing=false",) if name == "DyGait" else ()
    plain, compiled = make(device, name, *settings), make(device, name, *settings, "trainer_cfg.compile=true")
    for expected, actual in zip(losses(plain, steps=2), losses(compiled, steps=2), strict=True):
        assert actual == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["fixed", "unfixed"])
@pytest.mark.parametrize("name", SIX)
def test_no_step_synchronises(make: Make, device: torch.device, name: str, lengths: list[int] | None) -> None:
    """PyTorch raises an error where the host waits for the GPU."""
    settings = ("enable_float16=true", "grad_clip_norm=1", "spike_factor=10", "ema=0.9", "accumulate=2")
    trainer = make(device, name, *(f"trainer_cfg.{setting}" for setting in settings))
    losses(trainer, lengths)  # loads libraries and selects kernels
    batch = batch_of(lengths).pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
class TestMemory:
    @pytest.mark.parametrize("name", SIX)
    def test_stays_the_same(self, make: Make, device: torch.device, name: str) -> None:
        trainer = make(device, name)
        losses(trainer, steps=2)
        before = torch.cuda.memory_allocated(device)
        losses(trainer, steps=10)
        trainer.guard.read()
        assert torch.cuda.memory_allocated(device) <= before + 2**16

    def test_peak_is_lower_in_parts_and_with_checkpointing(self, make: Make, device: torch.device) -> None:
        def peak(*overrides: str) -> int:
            trainer = make(device, "DyGait", "trainer_cfg.sampler.batch_size=[2,32]", *overrides)
            torch.cuda.reset_peak_memory_stats(device)
            trainer.step(batch_of(count=64))
            return torch.cuda.max_memory_allocated(device)

        whole_batch = peak("model_cfg.checkpointing=false")
        assert peak("model_cfg.checkpointing=false", "trainer_cfg.accumulate=4") < whole_batch
        assert peak() < whole_batch
