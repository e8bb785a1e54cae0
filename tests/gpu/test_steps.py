"""Whole steps on the GPU: in every precision beside the CPU, compiled, without waiting, and what memory they take."""

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
"""How far losses may be from those in float32, relatively."""
CPU = torch.device("cpu")
Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a trainer; the same initial weights every time, on every device."""

    def made(where: torch.device, name: str, *overrides: str) -> Trainer:
        trainer = build_trainer(config_of(name, tmp_path, SGD, *overrides), where)
        trainer.training_mode()
        return trainer

    return made


def losses(trainer: Trainer, lengths: list[int] | None = None, steps: int = 1) -> list[dict[str, float]]:
    """Take steps and return what they report, but for counts, which jump."""
    rows = [trainer.step(batch_of(lengths, seed=i)) for i in range(steps)]
    kept = ("triplet/loss", "triplet/mean_dist", "softmax/loss", "gradient_norm")
    return [{name: float(row[name]) for name in kept if name in row} for row in rows]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["fixed", "unfixed"])
@pytest.mark.parametrize("name", SIX)
class TestPrecision:
    def test_float32_is_the_cpu_s(self, make: Make, device: torch.device, name: str, lengths: list[int] | None) -> None:
        """Losses to 1e-4, each parameter's gradient to 1e-3 of its length and of a thousandth of the whole's."""
        found, expected = make(device, name), make(CPU, name)
        assert losses(found, lengths)[0] == pytest.approx(losses(expected, lengths)[0], rel=1e-4)
        gradients = dict(expected.network.named_parameters())
        whole = float(torch.stack([p.grad.norm() for p in gradients.values() if p.grad is not None]).norm())
        for part, parameter in found.network.named_parameters():
            wanted = gradients[part].grad
            if wanted is not None:
                assert parameter.grad is not None, part
                error = float((parameter.grad.cpu() - wanted).norm())
                assert error < 1e-3 * (float(wanted.norm()) + 1e-3 * whole), f"gradient of {part}"
        for part, buffer in found.network.named_buffers():
            torch.testing.assert_close(buffer.cpu(), expected.network.get_buffer(part), rtol=1e-4, atol=1e-5, msg=part)

    @pytest.mark.parametrize("kind", HALF)
    def test_half_is_near_float32(
        self, make: Make, device: torch.device, name: str, lengths: list[int] | None, kind: str
    ) -> None:
        """On the GPU and on the CPU; float16 with loss scaling, whose first scales may overflow and go down."""
        half = make(device, name, "trainer_cfg.enable_float16=true", f"trainer_cfg.half_type={kind}")
        assert half.scaler.is_enabled() == (kind == "float16")
        half.scaler = torch.amp.GradScaler(device.type, init_scale=16.0, enabled=kind == "float16")
        (found,) = losses(half, lengths)
        for where in {device, CPU}:
            (expected,) = losses(make(where, name), lengths)
            assert found == pytest.approx(expected, rel=HALF[kind], abs=1e-3), where
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
    """Of a whole run on made data, in float64: to 1e-6."""
    with computing_in(torch.float64):
        found = curve(name, tmp_path)
    for key, values in recorded(name).items():
        assert found[key] == pytest.approx(values, rel=1e-6), key


def test_float32_follows_the_gentle_curve(tmp_path: Path) -> None:
    """To 5e-4 over all iterations; a CPU in float32 is 2e-5 from it."""
    with computing_in(torch.float32):
        found = curve("gentle", tmp_path)
    for key, values in recorded("gentle").items():
        assert found[key] == pytest.approx(values, rel=5e-4), key


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "GaitSet" else pytest.mark.cuda) for n in SIX])
def test_compiled_is_the_plain_step(
    make: Make, device: torch.device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Triton on a GPU; on a CPU what was traced is run as it is, which needs no compiler."""
    if device.type == "cpu":
        monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    settings = ("model_cfg.checkpointing=false",) if name == "DyGait" else ()
    plain, compiled = make(device, name, *settings), make(device, name, *settings, "trainer_cfg.compile=true")
    for row, other in zip(losses(plain, steps=2), losses(compiled, steps=2), strict=True):
        assert other == pytest.approx(row, rel=1e-3, abs=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["fixed", "unfixed"])
@pytest.mark.parametrize("name", SIX)
def test_no_step_waits(make: Make, device: torch.device, name: str, lengths: list[int] | None) -> None:
    """PyTorch itself raises, with the line of code, where the host waits for the GPU."""
    settings = ("enable_float16=true", "grad_clip_norm=1", "spike_factor=10", "ema=0.9", "accumulate=2")
    trainer = make(device, name, *(f"trainer_cfg.{setting}" for setting in settings))
    losses(trainer, lengths)  # libraries are loaded, kernels chosen
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

        whole = peak("model_cfg.checkpointing=false")
        assert peak("model_cfg.checkpointing=false", "trainer_cfg.accumulate=4") < whole
        assert peak() < whole
