"""The command `dygait profile`: counts against a hand computation, and the memory limit."""

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dygait import build_model, cli, machine
from dygait.config import load_config
from dygait.modeling import complete_model_cfg
from dygait.profiling import largest_batch, machine_peak
from dygait.profiling.counts import count_network, plain_form
from dygait.profiling.example_batch import example_batch, frames_of, input_sizes
from dygait.profiling.layers import OUTSIDE_LAYERS, LayerTracker, total
from dygait.profiling.phases import PHASES
from dygait.runs.memory import is_out_of_memory
from helpers.experiments import REPOSITORY, Experiment

N, S, H, W = 2, 9, 32, 24
CLASSES = 5
SHALLOW = {
    "model": "DyGait", "variant": "shallow", "channels": [2, 3, 4], "bin_num": [8, 1],
    "SeparateBNNecks": {"class_num": CLASSES, "in_channels": 4, "parts_num": 9},
}  # fmt: skip
DEEP = {
    "model": "DyGait", "variant": "deep", "channels": [2, 3, 4, 5], "bin_num": [4, 2], "class_num": CLASSES,
    "norm": "batch",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the smallest matrix product only."""
    monkeypatch.setattr(machine_peak, "_MIN_SECONDS", 0.0)


def dam(c_in: int, c_out: int, form: str, frames: int, height: int, width: int) -> dict[str, int]:
    """Return the multiply-adds of a DAM for one sequence: taps x channels in x channels out x positions."""
    positions, map_ = frames * height * width, height * width
    if form == "plain":
        stage1 = (27 + 27 + 9) * c_in * c_out * positions
        stage2 = (27 + 27 + 27) * c_out * c_out * positions
    else:
        stage1 = (27 + 27) * c_in * c_out * positions + 3 * 9 * c_in * c_out * map_
        stage2 = (27 + 27) * c_out * c_out * positions + 3 * 9 * c_out * c_out * map_
    return {"stage1": stage1, "stage2": stage2, "shortcut": 0 if c_in == c_out else c_in * c_out * positions}


def shallow_by_hand(form: str) -> dict[str, int]:
    c0, c1, c2 = 2, 3, 4
    parts = 8 + 1
    return {
        "first": 27 * 1 * c0 * 9 * 32 * 24,
        "lta": 3 * c0 * c0 * 3 * 32 * 24,
        **{f"dam0 {k}": v for k, v in dam(c0, c1, form, 3, 32, 24).items()},
        **{f"dam1 {k}": v for k, v in dam(c1, c2, form, 3, 16, 12).items()},
        **{f"dam2 {k}": v for k, v in dam(c2, c2, form, 3, 16, 12).items()},
        "fcs": parts * c2 * c2,
        "classes": parts * c2 * CLASSES,
    }


@pytest.mark.parametrize("form", ["plain", "fast"])
def test_counts_equal_a_hand_computation(form: str) -> None:
    counts = count_network({**SHALLOW, "dam": form}, [(H, W)], S)
    expected = shallow_by_hand(form)
    assert counts.forward == sum(expected.values())
    # Backward: the gradients of weights and inputs, each as much as forward; the silhouettes need none.
    assert counts.backward == 2 * sum(expected.values()) - expected["first"]
    model = build_model(SHALLOW)
    assert counts.parameters == sum(p.numel() for p in model.parameters())
    assert counts.parameters - counts.without_class_head == sum(p.numel() for p in model.necks.parameters())


def test_only_networks_with_dams_have_a_plain_form() -> None:
    assert plain_form(SHALLOW) == {**SHALLOW, "dam": "plain"}
    other = {"model": "GaitSet", "in_channels": [1, 2, 2, 2]}
    assert plain_form(other) == other


def track(settings: dict[str, Any]) -> tuple[LayerTracker, FlopCounterMode, nn.Module]:
    """Run a forward and a backward pass, tracked layer by layer."""
    torch.manual_seed(0)
    model, x = build_model(settings), torch.rand(N, S, H, W)
    with (
        FlopCounterMode(display=False) as counter,
        LayerTracker({"": model}, torch.device("cpu"), counter) as tracker,
        torch.autocast("cpu", torch.bfloat16, enabled=settings is DEEP),
    ):
        output = model(x)
        tracker.enter_phase("backward")
        (output.embeddings.float().sum() + output.logits.float().sum()).backward()
    return tracker, counter, model


@pytest.mark.parametrize(
    ("name", "shortcut", "parameters", "macs"),
    [
        ("Dygait_Gait3D_64x44", "always", 133_049_345, 239.05),  # published: 133.1 M and 239.0 G
        ("Dygait_Gait3D_64x44", "where needed", 132_787_201, 238.59),
        ("Dygait_Gait3D", "where needed", 134_586_369, 954.18),
    ],
)
def test_published_cost_of_dygait(name: str, shortcut: str, parameters: int, macs: float) -> None:
    """The forward pass of a sequence of 30 frames of Gait3D; Gait-World (NeurIPS 2025) is the only source."""
    config = load_config(REPOSITORY / "configs" / f"{name}.yaml", [f"model_cfg.shortcut={shortcut}"])
    settings = complete_model_cfg(config.model_cfg.model_dump(), config.data_cfg.dataset_name)
    counts = count_network(plain_form(settings), input_sizes(config), frames_of(config))
    assert counts.parameters == parameters
    assert counts.forward / 1e9 == pytest.approx(macs, abs=0.005)


def test_backward_multiply_adds_belong_to_their_layer() -> None:
    tracker, _, _ = track({**SHALLOW, "dam": "plain"})
    expected = shallow_by_hand("plain")
    for path, name in (
        ("backbone.dam1.stage2", "dam1 stage2"),
        ("backbone.lta", "lta"),
        ("fcs", "fcs"),
        ("necks", "classes"),
    ):
        actual = {
            phase: sum(c.multiply_adds for k, c in tracker.costs.items() if (k.phase, k.path) == (phase, path))
            for phase in ("forward", "backward")
        }
        assert actual == {"forward": N * expected[name], "backward": 2 * N * expected[name]}, path
    assert not sum(cost.multiply_adds for layer, cost in tracker.costs.items() if layer.path == OUTSIDE_LAYERS)


@pytest.mark.parametrize("settings", [SHALLOW, DEEP], ids=["shallow", "deep in half precision"])
def test_layers_sum_to_the_count_of_pytorch(settings: dict[str, Any]) -> None:
    tracker, counter, model = track(settings)
    assert 2 * total(tracker.costs.values()).multiply_adds == counter.get_total_flops() > 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Sleep(torch.autograd.Function):
    """The identity, which sleeps in the forward and in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, seconds: float) -> torch.Tensor:
        ctx.seconds = seconds
        time.sleep(seconds)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        time.sleep(2 * ctx.seconds)
        return gradients[0], None


class Slow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Sleep.apply(x, 0.05)  # type: ignore[no-any-return]


class Branches(nn.Module):
    """Two layers that read the same input, and time spent outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.quick = Slow(), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.03)
        return self.slow(x) + self.quick(x)


def test_time_belongs_to_the_innermost_layer() -> None:
    model = Branches()
    start = time.perf_counter()
    with LayerTracker({"": model}, torch.device("cpu")) as tracker:
        output = model(torch.zeros(2, 3, requires_grad=True)).sum()
        tracker.enter_phase("backward")
        output.backward()
        time.sleep(0.04)
    elapsed = time.perf_counter() - start
    seconds = {(layer.phase, layer.path): cost.seconds for layer, cost in tracker.costs.items()}
    expected = {
        ("forward", "slow"): 0.05, ("forward", "network"): 0.03,
        ("backward", "slow"): 0.1, ("backward", OUTSIDE_LAYERS): 0.04,
    }  # fmt: skip
    for key, minimum in expected.items():
        assert minimum <= seconds[key]
    assert sum(seconds.values()) == pytest.approx(elapsed, rel=0.05)


def test_counts_do_not_use_forms_for_a_cpu() -> None:
    """Channels and frames for which a CPU would use Winograd filtering."""
    settings = {**SHALLOW, "channels": [2, 64, 128], "bin_num": [1]}
    settings["SeparateBNNecks"] = {"class_num": CLASSES, "in_channels": 128, "parts_num": 1}
    counts = count_network({**settings, "dam": "fast"}, [(16, 4)], 12)
    stages = {c: dam(*c, "fast", 4, h, w) for c, h, w in (((2, 64), 16, 4), ((64, 128), 8, 2), ((128, 128), 8, 2))}
    other_layers = 27 * 2 * 12 * 16 * 4 + 3 * 2 * 2 * 4 * 16 * 4 + 128 * 128 + 128 * CLASSES
    assert counts.forward == sum(sum(stage.values()) for stage in stages.values()) + other_layers


def run(experiment: Experiment, *options: str) -> int:
    with mock.patch.object(machine, "available_cores", return_value=1):
        return cli.main(["profile", "--cfgs", str(experiment.config), "--device", "cpu", *options])


def test_profile_of_a_run(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, trace = tmp_path / "new" / "profile.json", tmp_path / "trace"
    assert run(experiment, "--steps", "2", "--json", str(file), "--trace", str(trace)) == 0
    output = capsys.readouterr().out
    profile = json.loads(file.read_text())
    assert profile["data"] == {"origin": f"32 sequences of {experiment.root}", "real": True}
    settings = load_config(experiment.config).model_cfg.model_dump()
    network = build_model(settings)
    assert profile["parameters"]["all"] == sum(p.numel() for p in network.parameters())
    head = sum(p.numel() for p in network.necks.parameters())
    assert profile["parameters"]["without_class_head"] == profile["parameters"]["all"] - head
    counts = profile["multiply_adds"]
    losses = sum(row["multiply_adds"] for row in profile["layers"] if row["name"][0].startswith("losses"))
    for form, name in (("plain", "plain_form"), ("fast", "executed")):
        network_counts = count_network({**settings, "dam": form}, [(32, 22)], 9)
        assert counts["forward_of_a_sequence"][name] == network_counts.forward
        assert counts["step"][name] == 4 * (network_counts.forward + network_counts.backward) + losses
    assert set(profile["seconds"]["phases"]) == set(PHASES)
    assert all(seconds > 0 for seconds in profile["seconds"]["phases"].values())
    assert sum(profile["seconds"]["phases"].values()) == pytest.approx(profile["seconds"]["step"], rel=0.5)
    assert profile["peak_bytes"] is None or profile["peak_bytes"] > 2**20
    stages = next(row for row in profile["layer_classes"] if row["name"] == ["DynamicStage"])
    assert stages["share_of_peak"] > 0
    assert set(stages["by_phase"]) == {"forward", "backward"}
    for row in profile["layer_classes"]:
        assert row["name"][0] in output or len(profile["layer_classes"]) > 12
    assert "aten::convolution_backward" in {row["name"] for row in profile["operations"]}
    (trace_file,) = trace.glob("*.pt.trace.json")
    ranges = {event.get("name") for event in json.loads(trace_file.read_text())["traceEvents"]}
    assert set(PHASES) <= ranges


def test_example_batches_without_the_dataset(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(experiment, "--steps", "1", "--set", "data_cfg.dataset_root=/nowhere", "--batch", "3", "1") == 0
    output = capsys.readouterr().out
    assert "batch 3 x 1, 9 frames" in output
    assert "data: example silhouettes of 32x22, no loader" in output
    assert "/nowhere" in output


def test_a_batch_beyond_the_memory_limit(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_peak, "available_bytes", lambda: 2**27)
    assert run(experiment, "--batch", "4", "2", "--set", "trainer_cfg.sampler.frames_num_fixed=4000") == 2
    assert "--batch P K" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--steps", "0"], ["--json", "/proc/nothing/here.json"]])
def test_errors(experiment: Experiment, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(experiment, *options) == 2
    assert "dygait: error: " in capsys.readouterr().err


# ---- the largest batch


@pytest.mark.parametrize("largest", [2, 3, 7, 64, 100])
def test_find_largest(largest: int) -> None:
    trials = []

    def trial(subjects: int) -> int:
        trials.append(subjects)
        if subjects > largest:
            raise MemoryError
        return 1000 * subjects

    peaks = largest_batch.find_largest(trial, most=100, log=lambda message: None)
    assert max(peaks) == largest
    assert peaks[largest] == 1000 * largest
    assert len(trials) == len(set(trials)) < 16


def test_find_batch(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trial(config: Any, limit: int, subjects: int) -> int:
        if subjects > largest:
            raise MemoryError
        return 2**20 * subjects

    monkeypatch.setattr(largest_batch, "_in_child", trial)
    largest = 3
    assert run(experiment, "--find-batch") == 0
    assert "largest batch that fits: 3 x 2 = 6 sequences" in capsys.readouterr().out
    largest = 1
    assert run(experiment, "--find-batch") == 2
    assert "not even 2 subjects" in capsys.readouterr().err


def test_a_trial_in_a_child_process(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(experiment.config, ["trainer_cfg.sampler.frames_num_fixed=200"])
    assert largest_batch._in_child(config, 2**32, 2) > 2**20
    fork = multiprocessing.get_context("fork")  # faster: PyTorch is already imported
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: fork)
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        largest_batch._in_child(config, 2**27, 400)
    assert is_out_of_memory(raised.value)


def test_a_trial_with_more_subjects_than_classes(experiment: Experiment) -> None:
    """Labels repeat when there are more subjects than classes."""
    config = load_config(experiment.config)
    assert largest_batch.steps_peak(config, torch.device("cpu"), 5) > 2**20
    network = torch.nn.Identity()
    network.class_num, network.in_channels = 4, 2
    batch = example_batch(config, 5, 2, network)
    assert batch.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert batch.silhouettes.shape[2] == 2


MEMINFO = "MemTotal: 1000 kB\nMemAvailable: 800 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 800 * 1024),
        ({"proc/self/cgroup": "0::/a/b\n"}, 800 * 1024),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "5000\n",
                "sys/fs/cgroup/a/memory.current": "3000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 100\ninactive_file 500\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "3000\n",
                "sys/fs/cgroup/a/b/memory.stat": "inactive_file 500\n",
            },
            2500,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/unseen\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500",
                "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 250\n",
            },
            2750,
        ),
    ],
    ids=["no groups", "no limit", "version 2", "version 1"],
)
def test_available_memory_is_that_of_the_tightest_cgroup(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine_peak.available_bytes(tmp_path) == expected


def test_a_system_with_unknown_memory(tmp_path: Path) -> None:
    assert machine_peak.available_bytes(tmp_path) is None


def test_accumulated_batches_have_the_same_phases(experiment: Experiment, tmp_path: Path) -> None:
    """Each part but the last runs forward twice: once for the losses, once for the backward pass."""
    counts = {}
    for parts in (1, 2):
        file = tmp_path / f"{parts}.json"
        options = ("--steps", "1", "--set", f"trainer_cfg.accumulate={parts}", "--json", str(file))
        assert run(experiment, "--batch", "4", "2", *options) == 0
        profile = json.loads(file.read_text())
        assert all(seconds > 0 for seconds in profile["seconds"]["phases"].values())
        counts[parts] = profile["multiply_adds"]
    forward = {parts: multiply_adds["forward_of_a_sequence"]["executed"] for parts, multiply_adds in counts.items()}
    assert forward[2] == pytest.approx(1.5 * forward[1])
    assert counts[1]["step"]["plain_form"] == counts[2]["step"]["plain_form"]
