"""Every variant of the training step against the plain one in float32."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch._dynamo.testing
from torch import nn

from dygait import distributed
from dygait.config import load_config
from dygait.config.schema import Config
from dygait.data.collate import Batch
from dygait.errors import UserError
from dygait.modeling.sync_batch_norm import SyncBatchNorm, synchronise_norms
from dygait.runs import compilation, precision
from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from dygait.training import checkpoint, optimizers, schedules
from dygait.training.trainer import Trainer, build_trainer
from helpers.experiments import make_experiment
from helpers.processes import in_processes

CPU = torch.device("cpu")
SGD = "optimizer_cfg={solver: SGD, lr: 0.0001, momentum: 0.9, weight_decay: 0.001}"
Make = Callable[..., Trainer]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration. Steps are taken on batches of the tests, so that its data are not read."""
    return make_experiment(tmp_path_factory.mktemp("step"), ids=("001",), types=("nm-01",), views=("000",)).config


@pytest.fixture
def config(path: Path) -> Callable[..., Config]:
    return lambda *overrides: load_config(path, [SGD, "trainer_cfg.sampler.batch_size=[2,4]", *overrides])


@pytest.fixture
def make(config: Callable[..., Config]) -> Make:

    def build(*overrides: str) -> Trainer:
        trainer = build_trainer(config(*overrides), CPU)
        trainer.training_mode()
        return trainer

    return build


@pytest.fixture
def make_float64(make: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """As `make`, in float64, so that rounding hides no difference."""
    scaled = Batch.scaled
    monkeypatch.setattr(Batch, "scaled", lambda batch: scaled(batch).double())

    def build(*overrides: str) -> Trainer:
        trainer = make(*overrides)
        trainer.network.double()
        trainer.optimizer = optimizers.build_optimizer(trainer.config, trainer.network)
        trainer.scheduler = schedules.build_scheduler(trainer.config, trainer.optimizer)
        return trainer

    return build


def batch_of(count: int = 8, frames: int = 9, lengths: list[int] | None = None, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    silhouettes = (torch.rand(count, frames, 32, 22, generator=generator) > 0.5).to(torch.uint8) * 255
    labels = torch.arange(count) % 2
    return Batch(silhouettes, None if lengths is None else torch.tensor(lengths), labels, torch.arange(count))


def steps(trainer: Trainer, number: int = 3, **batch: Any) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in trainer.step(batch_of(seed=i, **batch)).items()} for i in range(number)]


def restore(trainer: Trainer, other: Trainer, folder: Path) -> None:
    save_checkpoint(folder / "state.pt", checkpoint.state(other))
    checkpoint.restore(trainer, folder / "state.pt", read_checkpoint(folder / "state.pt"))


def assert_close(actual: Trainer, expected: Trainer, rtol: float, atol: float) -> None:
    state = actual.network.state_dict()
    for name, tensor in expected.network.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


class TestAccumulation:
    @pytest.mark.parametrize(("parts", "scale"), [(2, None), (3, None), (8, None), (2, 16.0)])
    @pytest.mark.parametrize("lengths", [None, [9, 8, 7, 9, 3, 9, 9, 5]])
    def test_equals_the_whole_batch(
        self, make_float64: Make, parts: int, scale: float | None, lengths: list[int] | None
    ) -> None:
        """Without batch statistics only the order of sums differs, also with loss scaling."""
        plain, in_parts = (make_float64("trainer_cfg.fix_BN=true", f"trainer_cfg.accumulate={k}") for k in (1, parts))
        if scale is not None:
            in_parts.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for expected, actual in zip(*(steps(t, 2, lengths=lengths) for t in (plain, in_parts)), strict=True):
            assert actual == pytest.approx(expected, rel=1e-9)
        assert_close(in_parts, plain, 1e-9, 1e-12)

    def test_batch_statistics_are_those_of_the_parts_and_updated_once(self, make: Make) -> None:
        trainer = make("trainer_cfg.accumulate=2")
        batch = batch_of()
        norm = next(m for m in trainer.network.modules() if isinstance(m, nn.BatchNorm1d))
        seen: list[torch.Tensor] = []
        norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        trainer.step(batch)
        assert len(seen) == 3  # the first part, the last, the first again
        torch.testing.assert_close(seen[0], seen[2])
        mean = torch.zeros_like(norm.running_mean)
        for part in seen[:2]:
            mean = 0.9 * mean + 0.1 * part.mean(0)
        torch.testing.assert_close(norm.running_mean, mean)
        assert int(norm.num_batches_tracked) == 2

    def test_draws_the_same_random_numbers_in_both_passes(self, make: Make) -> None:
        trainer = make("trainer_cfg.accumulate=2")
        random_numbers: list[torch.Tensor] = []
        trainer.network.register_forward_hook(lambda *_: random_numbers.append(torch.rand(3)))
        trainer.step(batch_of())
        assert torch.equal(random_numbers[0], random_numbers[2])
        assert not torch.equal(random_numbers[0], random_numbers[1])

    def test_needs_the_memory_of_a_part_only(self, make: Make) -> None:
        """No forward pass with gradient sees more than a part of the batch."""
        trainer = make("trainer_cfg.accumulate=4")
        sizes: list[int] = []
        trainer.network.register_forward_pre_hook(
            lambda module, inputs: sizes.append(len(inputs[0])) if torch.is_grad_enabled() else None
        )
        trainer.step(batch_of())
        assert sizes == [2, 2, 2, 2]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (["trainer_cfg.accumulate=9"], "accumulate is 9, but a batch has 8 sequences"),
            (["trainer_cfg.accumulate=2", "trainer_cfg.compile=reduce-overhead"], "reduce-overhead"),
            (["trainer_cfg.compile=fastest"], r"trainer_cfg\.compile"),
            (["trainer_cfg.compile=true", "model_cfg.checkpointing=true"], r"compile.*checkpointing"),
        ],
    )
    def test_incompatible_settings(self, make: Make, settings: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            make(*settings)


def drive(trainer: Trainer, iterations: range) -> None:
    for i in iterations:
        generator = torch.Generator().manual_seed(i)
        for parameter in trainer.network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        trainer.optimizer.step()


class TestOptimisers:
    @pytest.mark.parametrize(
        "section",
        [
            "{solver: SGD, lr: 0.01, momentum: 0.9, weight_decay: 0.001}",
            "{solver: SGD, lr: 0.01, momentum: 0.9, dampening: 0.5}",
            "{solver: Adam, lr: 0.001}",
            "{solver: AdamW, lr: 0.001, weight_decay: 0.1}",
        ],
    )
    def test_fused_equals_the_plain_form(self, make: Make, section: str) -> None:
        fused = make(f"optimizer_cfg={section}")
        plain = make(f"optimizer_cfg={section[:-1]}, foreach: false, fused: false}}")
        assert fused.optimizer.param_groups[0]["fused"] is True
        assert plain.optimizer.param_groups[0]["fused"] is False
        for trainer in (fused, plain):
            drive(trainer, range(5))
        assert_close(fused, plain, 1e-5, 1e-7)

    @pytest.mark.parametrize("solver", ["SGD", "AdamW"])
    @pytest.mark.parametrize("forms", [("", ", foreach: true"), (", foreach: true", ""), (", fused: false", "")])
    def test_states_are_interchangeable(self, make: Make, tmp_path: Path, solver: str, forms: tuple[str, str]) -> None:
        momentum = ", momentum: 0.9" if solver == "SGD" else ""
        first, second, uninterrupted = (
            make(f"optimizer_cfg={{solver: {solver}, lr: 0.001{momentum}{form}}}") for form in (*forms, forms[0])
        )
        drive(first, range(2))
        form = second.optimizer.param_groups[0]["fused"], second.optimizer.param_groups[0]["foreach"]
        restore(second, first, tmp_path)
        assert (second.optimizer.param_groups[0]["fused"], second.optimizer.param_groups[0]["foreach"]) == form
        drive(second, range(2, 5))
        drive(uninterrupted, range(5))
        assert_close(second, uninterrupted, 1e-5, 1e-7)

    def test_optimisers_without_a_fused_form(self, make: Make) -> None:
        assert "fused" not in make("optimizer_cfg={solver: RMSprop, lr: 0.001}").optimizer.param_groups[0]


class TestAverage:
    def test_follows_the_weights(self, make: Make) -> None:
        trainer = make("trainer_cfg.ema=0.3")
        average = {n: t.clone() for n, t in trainer.network.state_dict().items()}
        for i in range(1, 5):
            trainer.step(batch_of(seed=i))
            decay = min(0.3, (1 + i) / (10 + i))
            for name, tensor in trainer.network.state_dict().items():
                is_integer = not tensor.is_floating_point()
                average[name] = tensor.clone() if is_integer else decay * average[name] + (1 - decay) * tensor
        for name, tensor in trainer.average.network.state_dict().items():
            torch.testing.assert_close(tensor, average[name], rtol=1e-5, atol=1e-6)
        assert not any(p.requires_grad for p in trainer.average.network.parameters())

    def test_starts_from_a_checkpoint_without_one(self, make: Make, tmp_path: Path) -> None:
        plain, averaged = make(), make("trainer_cfg.ema=0.9")
        steps(plain, 1)
        restore(averaged, plain, tmp_path)
        for name, tensor in plain.network.state_dict().items():
            assert torch.equal(averaged.average.network.state_dict()[name], tensor)

    def test_tests_during_training_use_it_by_default(self, make: Make) -> None:
        trainer = make("trainer_cfg.ema=0.9")
        assert trainer.tested_network is trainer.average.network
        trainer = make("trainer_cfg.ema=0.9", "evaluator_cfg.use_ema=false")
        assert trainer.tested_network is trainer.network

    def test_the_test_phase_uses_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        experiment = make_experiment(tmp_path)
        experiment.train("trainer_cfg.ema=0.9", "trainer_cfg.total_iter=2")
        state = experiment.checkpoint(2)
        assert any(not torch.equal(state["ema"][name], tensor) for name, tensor in state["model"].items())
        output = {}
        for use in ("true", "false"):
            capsys.readouterr()
            assert experiment.run("test", f"evaluator_cfg.use_ema={use}") == 0
            output[use] = capsys.readouterr().out
        assert "; the averaged weights" in output["true"]
        assert "averaged" not in output["false"]


class TestHalfPrecision:
    @pytest.mark.parametrize("kind", ["bfloat16", "float16"])
    def test_is_near_the_plain_step(self, make: Make, kind: str) -> None:
        plain, half = make(), make("trainer_cfg.enable_float16=true", f"trainer_cfg.half_type={kind}")
        assert half.scaler.is_enabled() == (kind == "float16")
        # The default initial scale overflows, which skips a step.
        half.scaler = torch.amp.GradScaler("cpu", init_scale=16.0, enabled=kind == "float16")
        expected, actual = (steps(trainer, 1, count=4, frames=3)[0] for trainer in (plain, half))
        for name in ("triplet/loss", "softmax/loss", "gradient_norm"):
            assert actual[name] == pytest.approx(expected[name], rel=0.2 if kind == "bfloat16" else 0.05), name
        assert all(p.dtype == torch.float32 for p in half.network.parameters())

    @pytest.mark.parametrize(("speed", "expected"), [(1.1, False), (3.0, True)])
    def test_auto_is_resolved_by_measurement(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, speed: float, expected: bool
    ) -> None:
        monkeypatch.setattr(precision, "speed_on_cpu", lambda dtype: speed)
        trainer = make("trainer_cfg.enable_float16=auto", "evaluator_cfg.enable_float16=auto")
        assert trainer.config.trainer_cfg.enable_float16 is expected
        assert trainer.config.evaluator_cfg.enable_float16 is expected
        assert precision.half_precision(CPU, "auto")._enabled is expected

    def test_auto_on_a_gpu_is_true(self, config: Callable[..., Config]) -> None:
        resolved = precision.resolve_precision(config("trainer_cfg.enable_float16=auto"), torch.device("cuda"))
        assert resolved.trainer_cfg.enable_float16 is True

    def test_a_resumed_run_keeps_the_resolved_precision(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        experiment = make_experiment(tmp_path)
        auto = "trainer_cfg.enable_float16=auto"
        monkeypatch.setattr(precision, "speed_on_cpu", lambda dtype: 3.0)
        experiment.train(auto, "trainer_cfg.total_iter=2")
        assert "enable_float16 is auto: true" in capsys.readouterr().out
        assert experiment.checkpoint(2)["config"]["trainer_cfg"]["enable_float16"] is True
        monkeypatch.setattr(precision, "speed_on_cpu", lambda dtype: 0.5)
        experiment.train(auto, "trainer_cfg.total_iter=3", "trainer_cfg.restore_hint=2")
        assert "enable_float16 is auto: true" in capsys.readouterr().out
        assert experiment.checkpoint(3)["config"]["trainer_cfg"]["enable_float16"] is True

    def test_slow_half_precision_is_logged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert 0.01 < precision.speed_on_cpu(torch.bfloat16) < 100
        monkeypatch.setattr(precision, "speed_on_cpu", lambda dtype: 0.5)
        with mock.patch.object(precision.log, "info") as logged:
            precision.warn_if_slow(CPU, True, None, "trainer_cfg")
            precision.warn_if_slow(CPU, False, None, "trainer_cfg")
            precision.warn_if_slow(torch.device("cuda"), True, None, "trainer_cfg")
        assert logged.call_count == 1
        assert "trainer_cfg" in logged.call_args.args
        assert "0.50 times as fast" in logged.call_args.args[1]


class TestCompiled:
    @pytest.fixture(autouse=True)
    def _no_compiler(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Run the traced graphs without a C++ compiler."""
        torch._dynamo.reset()
        monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
        yield
        torch._dynamo.reset()

    def test_equals_the_plain_step(self, make: Make) -> None:
        plain, compiled = make(), make("trainer_cfg.compile=true")
        for expected, actual in zip(steps(plain, 2), steps(compiled, 2), strict=True):
            assert actual == pytest.approx(expected, rel=1e-4)
        assert_close(compiled, plain, 1e-4, 1e-5)
        assert checkpoint.state(compiled)["model"].keys() == checkpoint.state(plain)["model"].keys()

    def test_many_lengths_take_few_compilations(self, make: Make) -> None:
        counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        with mock.patch.object(compilation, "BACKEND", counter):
            trainer = make("trainer_cfg.compile=true", "trainer_cfg.sampler.sample_type=unfixed_ordered")
        counter.frame_count = 0
        counts = []
        for i, frames in enumerate((12, 15, 10, 20, 13, 17)):
            lengths = [frames - (k % 3) for k in range(8)]
            trainer.step(batch_of(frames=frames, lengths=lengths, seed=i))
            counts.append(counter.frame_count)
        assert counts[0] > 0
        assert counts[-1] == counts[2], counts  # graphs are reused from the third length on

    def test_a_missing_compiler_is_reported_before_training(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(graph: Any, inputs: Any) -> Any:
            raise RuntimeError("No working C++ compiler found")

        monkeypatch.setattr(compilation, "BACKEND", broken)
        with pytest.raises(UserError, match=r"trainer_cfg\.compile: .*; or set compile to false"):
            make("trainer_cfg.compile=true")


VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "in parts": ("trainer_cfg.accumulate=2",),
    "in parts, looking for unused": ("trainer_cfg.accumulate=4", "trainer_cfg.find_unused_parameters=true"),
    "compressed": ("trainer_cfg.gradient_compression=float16",),
    "compressed, in parts": ("trainer_cfg.gradient_compression=float16", "trainer_cfg.accumulate=2"),
    "bfloat16": ("trainer_cfg.gradient_compression=bfloat16",),
    "too many parts": ("trainer_cfg.accumulate=5",),
}


def two_process_steps(path: str) -> dict[str, Any]:
    """Return the results of steps of each variant on the share of this process, or the error."""
    results = {name: _steps_on_a_share(path, overrides) for name, overrides in VARIANTS.items()}
    return {**results, "norms": [_norm_on_a_share(*case) for case in NORMS]}


NORMS: list[tuple[nn.modules.batchnorm._BatchNorm, tuple[int, ...]]] = [
    (nn.BatchNorm1d(3, dtype=torch.float64), (7, 3)),
    (nn.BatchNorm2d(3, momentum=None, dtype=torch.float64), (7, 3, 4, 5)),
    (nn.BatchNorm3d(3, affine=False, dtype=torch.float64), (7, 3, 2, 4, 5)),
]


def _norm_input(shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 100).requires_grad_()


def _normed(layer: nn.Module, x: torch.Tensor, share: slice) -> dict[str, Any]:
    """Return the outputs of a layer after two training steps and in evaluation, its gradients and its state."""
    layer.train()
    layer(x[share].detach() / 2)
    y = layer(x[share])
    weights = torch.arange(float(x.numel()), dtype=torch.float64).reshape(x.shape).sin()
    (y**3 * weights[share]).sum().backward()
    grads = [p.grad for p in layer.parameters()]
    evaluated = layer.eval()(x[share])
    return {
        "y": y.detach(),
        "x": x.grad[share],
        "grads": grads,
        "state": layer.state_dict(),
        "eval": evaluated.detach(),
    }


def _norm_on_a_share(layer: nn.modules.batchnorm._BatchNorm, shape: tuple[int, ...]) -> dict[str, Any]:
    network = synchronise_norms(nn.Sequential(copy.deepcopy(layer)), CPU)
    assert isinstance(network[0], SyncBatchNorm)
    return _normed(network[0], _norm_input(shape), slice(0, 5) if distributed.is_main() else slice(5, 7))


def _steps_on_a_share(path: str, overrides: tuple[str, ...]) -> Any:
    config = load_config(path, [SGD, "trainer_cfg.sampler.batch_size=[2,4]", "trainer_cfg.fix_BN=true", *overrides])
    try:
        trainer = build_trainer(config, CPU)
    except UserError as error:
        return str(error)
    trainer.training_mode()
    rank = distributed.rank()
    for i in range(2):
        whole = batch_of(seed=i)
        share = slice(4 * rank, 4 * rank + 4)
        batch = Batch(whole.silhouettes[share], None, whole.labels[share], whole.sequences[share])
        statistics = trainer.step(batch)
    buffers = list(trainer.network.buffers())
    buffers[0].fill_(rank)
    distributed.broadcast_tensors(buffers)
    triplet = {name: float(value) for name, value in statistics.items() if name.startswith("triplet")}
    return trainer.network.state_dict(), flat_gradient(trainer), buffers[0], triplet


def flat_gradient(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None])


class TestTwoProcesses:
    @pytest.fixture(scope="class")
    def results(self, path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
        return in_processes(two_process_steps, 2, tmp_path_factory.mktemp("two"), str(path))

    @pytest.mark.parametrize("variant", list(VARIANTS)[:5])
    def test_equal_one_process(self, make: Make, results: list[dict[str, Any]], variant: str) -> None:
        """Weights are equal on both, and the gradient is that of the whole batch up to rounding."""
        weights, gradients = ([s[variant][i] for s in results] for i in range(2))
        assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())
        trainer = make("trainer_cfg.fix_BN=true")
        expected_statistics = steps(trainer, 2)[-1]
        for s in results:  # every process computes the triplets of the whole batch
            assert s[variant][3] == pytest.approx({name: expected_statistics[name] for name in s[variant][3]}, rel=1e-3)
        expected = flat_gradient(trainer)
        tolerance = {"compressed": 2e-3, "compressed, in parts": 2e-3, "bfloat16": 2e-2}.get(variant, 2e-4)
        for gradient in gradients:
            assert (gradient - expected).norm() < tolerance * expected.norm()

    @pytest.mark.parametrize("case", range(len(NORMS)), ids=[type(layer).__name__ for layer, _ in NORMS])
    def test_synchronised_norms_are_those_of_the_whole_batch(self, results: list[dict[str, Any]], case: int) -> None:
        """Five sequences on one process and two on the other, against PyTorch's layer with all seven."""
        layer, shape = NORMS[case]
        expected = _normed(copy.deepcopy(layer), _norm_input(shape), slice(None))
        shares = [s["norms"][case] for s in results]
        for name in ("y", "x", "eval"):
            torch.testing.assert_close(torch.cat([f[name] for f in shares]), expected[name], rtol=1e-9, atol=1e-9)
        for first, second, whole in zip(shares[0]["grads"], shares[1]["grads"], expected["grads"], strict=True):
            torch.testing.assert_close(first + second, whole, rtol=1e-9, atol=1e-9)
        for f in shares:
            torch.testing.assert_close(f["state"], expected["state"], rtol=1e-9, atol=1e-9)

    def test_buffers_are_broadcast_from_rank_0(self, results: list[dict[str, Any]]) -> None:
        assert not any(s["plain"][2].any() for s in results)

    def test_types_that_the_backend_does_not_support(self, make: Make, results: list[dict[str, Any]]) -> None:
        """Gloo does not support bfloat16; where it does (PyTorch 2.4), the gradient is that of the whole batch."""
        if not isinstance(results[0]["bfloat16"], str):
            self.test_equal_one_process(make, results, "bfloat16")
            return
        for s in results:
            assert s["bfloat16"].startswith("trainer_cfg.gradient_compression: gloo does not exchange bfloat16 (")
            assert s["bfloat16"].endswith("); use float16, or leave the key out")

    def test_parts_are_of_the_share_of_a_process(self, results: list[dict[str, Any]]) -> None:
        assert results[0]["too many parts"] == "trainer_cfg.accumulate is 5, but a process has 4 sequences of a batch"
