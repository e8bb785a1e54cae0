"""`dygait profile`: what it counts equals a hand computation, and it never takes more memory than it may."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import greedy
from dygait import build_model, cli, distributed
from dygait.config import Config, load_config
from dygait.errors import UserError
from dygait.profiling import batch, cost, machine_peak
from dygait.profiling.counting import THE_STEP, Counter, Key, Work, total
from dygait.profiling.material import made_batch
from dygait.profiling.paper import Paper
from dygait.profiling.phases import PHASES
from experiments import Experiment, make_experiment

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


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return make_experiment(tmp_path)


@pytest.fixture(autouse=True)
def _quick_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest product and a small copy will do."""
    monkeypatch.setattr(machine_peak, "_ENOUGH", 0.0)
    monkeypatch.setattr(machine_peak, "bytes_per_second", partial(machine_peak.bytes_per_second, size=2**16))


def dam(c_in: int, c_out: int, form: str, frames: int, height: int, width: int) -> dict[str, int]:
    """Multiply-adds of a DAM for one sequence: taps x channels in x channels out x places."""
    places, map_ = frames * height * width, height * width
    if form == "plain":
        stage1 = (27 + 27 + 9) * c_in * c_out * places
        stage2 = (27 + 27 + 27) * c_out * c_out * places
    else:
        stage1 = (27 + 27) * c_in * c_out * places + 3 * 9 * c_in * c_out * map_
        stage2 = (27 + 27) * c_out * c_out * places + 3 * 9 * c_out * c_out * map_
    return {"stage1": stage1, "stage2": stage2, "shortcut": 0 if c_in == c_out else c_in * c_out * places}


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


def deep_by_hand(form: str) -> dict[str, int]:
    c0, c1, c2, c3 = 2, 3, 4, 5
    parts = 4 + 2
    return {
        **{f"first {k}": v for k, v in dam(1, c0, form, 9, 32, 24).items()},
        **{f"dam1 {k}": v for k, v in dam(c0, c1, form, 9, 16, 12).items()},
        "lta": 3 * c1 * c1 * 3 * 16 * 12,
        **{f"dam2 {k}": v for k, v in dam(c1, c2, form, 3, 16, 12).items()},
        **{f"dam3 {k}": v for k, v in dam(c2, c3, form, 3, 8, 6).items()},
        **{f"dam4 {k}": v for k, v in dam(c3, c3, form, 3, 8, 6).items()},
        "fcs": parts * c3 * c3,
        "classes": parts * c3 * CLASSES,
    }


def in_phase(works: dict[Key, Work], phase: str) -> int:
    return sum(work.all_macs for key, work in works.items() if key.phase == phase)


@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize(
    ("settings", "by_hand"), [(SHALLOW, shallow_by_hand), (DEEP, deep_by_hand)], ids=["shallow", "deep"]
)
def test_counts_are_those_of_a_hand_computation(settings: dict[str, Any], by_hand: Any, form: str) -> None:
    found = Paper({**settings, "dam": form}, [(H, W)], half=False).count(N, S)
    expected = by_hand(form)
    assert in_phase(found, "forward") == N * sum(expected.values())
    # Backward: the gradients of weight and input, each as much as forward; nobody wants that of the silhouettes.
    without = sum(expected[k] for k in ("first", "first stage1", "first shortcut") if k in expected)
    assert in_phase(found, "backward") == N * (2 * sum(expected.values()) - without)


def test_backward_work_belongs_to_the_layer_that_made_it() -> None:
    found = Paper({**SHALLOW, "dam": "plain"}, [(H, W)], half=False).count(N, S)
    expected = shallow_by_hand("plain")
    for layer, name in (
        ("backbone.dam1.stage2", "dam1 stage2"),
        ("backbone.lta", "lta"),
        ("fcs", "fcs"),
        ("necks", "classes"),
    ):
        counted = {
            phase: sum(w.all_macs for k, w in found.items() if (k.phase, k.layer) == (phase, layer))
            for phase in ("forward", "backward")
        }
        assert counted == {"forward": N * expected[name], "backward": 2 * N * expected[name]}, layer
    assert not sum(w.all_macs for k, w in found.items() if k.layer == THE_STEP)


def test_nothing_is_computed_on_paper_and_no_form_for_a_processor_is_taken() -> None:
    """Channels and frames for which a CPU would filter by Winograd's way."""
    settings = {**SHALLOW, "channels": [2, 64, 128], "bin_num": [1]}
    settings["SeparateBNNecks"] = {"class_num": CLASSES, "in_channels": 128, "parts_num": 1}
    found = Paper({**settings, "dam": "fast"}, [(16, 4)], half=False).count(2, 12)
    of_stage = sum(w.all_macs for k, w in found.items() if (k.phase, k.layer) == ("forward", "backbone.dam1.stage1"))
    assert of_stage == 2 * dam(64, 128, "fast", 4, 8, 2)["stage1"]


def test_real_tensors_are_counted_as_pytorch_counts_them() -> None:
    """On a network that computes, in half precision, beside PyTorch's own counter."""
    torch.manual_seed(0)
    model, x = build_model(DEEP), torch.rand(N, S, H, W)

    def both_ways() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            output = model(x)
        (output.embeddings.float().sum() + output.logits.float().sum()).backward()

    both_ways()
    with FlopCounterMode(display=False) as theirs:
        both_ways()
    with Counter({"": model}, timed=True) as ours:
        both_ways()
    counted = total(ours.works.values())
    assert 2 * counted.all_macs == theirs.get_total_flops()
    assert counted.macs["bfloat16"] > 0.9 * counted.all_macs
    assert all(work.seconds > 0 for work in ours.works.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_bytes_are_those_of_different_elements() -> None:
    x = torch.zeros(4, 8)
    with Counter({}) as counter:
        x + torch.zeros(()).expand(4, 8)
        x.view(8, 4)
    moved = sum(work.moved for key, work in counter.works.items() if key.kind == "element by element")
    assert moved == 4 * (32 + 1 + 32)


def run(experiment: Experiment, *options: str) -> int:
    with mock.patch.object(distributed, "available_cores", return_value=1):
        return cli.main(["profile", "--cfgs", str(experiment.config), "--device", "cpu", *options])


def test_profile_of_a_run(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, trace = tmp_path / "made" / "profile.json", tmp_path / "trace"
    assert run(experiment, "--steps", "2", "--json", str(file), "--trace", str(trace)) == 0
    said = capsys.readouterr().out
    profile = json.loads(file.read_text())
    assert profile["data"] == {"origin": f"32 sequences of {experiment.root}", "real": True}
    settings = load_config(experiment.config).model_cfg.model_dump()
    network = build_model(settings)
    assert profile["parameters"]["all"] == sum(p.numel() for p in network.parameters())
    head = sum(p.numel() for p in network.necks.parameters())
    assert profile["parameters"]["without_class_head"] == profile["parameters"]["all"] - head
    counts = profile["multiply_adds"]
    for form, name in (("plain", "plain_form"), ("fast", "executed")):
        on_paper = Paper({**settings, "dam": form}, [(32, 22)], half=False).count(2, 9)
        assert counts["forward_of_a_sequence"][name] == in_phase(on_paper, "forward") // 2
        losses = sum(row["multiply_adds"] for row in profile["layers"] if row["name"][0].startswith("losses"))
        assert counts["step"][name] == 2 * total(on_paper.values()).all_macs + losses
    assert set(profile["seconds"]["phases"]) == set(PHASES)
    assert all(seconds > 0 for seconds in profile["seconds"]["phases"].values())
    assert sum(profile["seconds"]["phases"].values()) == pytest.approx(profile["seconds"]["step"], rel=0.5)
    assert profile["peak_bytes"] is None or profile["peak_bytes"] > 2**20
    stages = next(row for row in profile["layer_classes"] if row["name"] == ["DynamicStage"])
    assert stages["share_of_peak"] > 0
    assert set(stages["by_phase"]) == {"forward", "backward"}
    for row in profile["layer_classes"]:
        assert row["name"][0] in said or len(profile["layer_classes"]) > 12
    (written,) = trace.glob("*.pt.trace.json")
    ranges = {event.get("name") for event in json.loads(written.read_text())["traceEvents"]}
    assert set(PHASES) <= ranges


def test_without_the_dataset_silhouettes_are_made(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(experiment, "--steps", "1", "--set", "data_cfg.dataset_root=/nowhere", "--batch", "3", "1") == 0
    said = capsys.readouterr().out
    assert "batch 3 x 1, 9 frames" in said
    assert "data: made silhouettes of 32x22, no loader" in said
    assert "/nowhere" in said


def test_a_batch_beyond_the_memory_is_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_peak, "available_bytes", lambda: 1000)
    monkeypatch.setattr(machine_peak, "peak_bytes", lambda device: 2**30)
    assert run(experiment, "--batch", "4", "2") == 2
    assert "give a smaller one, --batch P K" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--steps", "0"], ["--json", "/proc/nothing/here.json"]])
def test_mistakes_end_in_a_line(experiment: Experiment, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(experiment, *options) == 2
    assert "dygait: error: " in capsys.readouterr().err


# ---- the largest batch


@pytest.mark.parametrize("fits", [2, 3, 7, 64, 100])
@pytest.mark.parametrize("power", [1, 2])
def test_the_largest_batch_is_found_without_trying_what_does_not_fit(fits: int, power: int) -> None:
    """Memory that grows with the batch, or with its square."""

    def need(people: int) -> int:
        return 1000 + 10 * people**power

    free, tried = need(fits), []

    def trial(people: int) -> int:
        tried.append(need(people))
        return need(people)

    assert max(batch.largest(trial, free, say=lambda text: None)) == fits
    if power == 1 and fits >= 4:
        assert max(tried) <= free  # 2 and 4 people say what the rest takes
    assert max(tried) < 4 * free


def test_where_the_memory_is_unknown_everything_is_tried_and_failure_caught() -> None:
    assert max(batch.largest(lambda people: people if people <= 37 else None, None, say=lambda text: None)) == 37
    assert batch.largest(lambda people: None, None, say=lambda text: None) == {}
    assert max(batch.largest(lambda people: people, None, most=9, say=lambda text: None)) == 9


def test_a_process_that_takes_too_much_is_ended() -> None:
    assert batch.watched(greedy.takes, (2**22,), limit=2**28) is None
    assert batch.watched(greedy.answers, (7,), limit=2**30) == 7
    with pytest.raises(UserError, match="failed"):
        batch.watched(greedy.fails, (), limit=2**30)


def test_find_batch(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need = {2: 2**20, 3: 3 * 2**20, 4: 2**30}
    monkeypatch.setattr(machine_peak, "available_bytes", lambda: 2**22)
    monkeypatch.setattr(batch, "watched", lambda target, arguments, limit: need[arguments[2]])
    assert run(experiment, "--find-batch") == 0
    assert "largest batch that fits: 3 x 2 = 6 sequences" in capsys.readouterr().out
    need[2] = 2**30
    assert run(experiment, "--find-batch") == 2
    assert "not even 2 people" in capsys.readouterr().err


def test_a_trial_trains(experiment: Experiment) -> None:
    """More people than classes too: labels then come again."""
    config = load_config(experiment.config)
    assert batch.steps_peak(config, torch.device("cpu"), 5) > 2**20
    assert made_batch(config, 5, 2, 4).labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]


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
def test_free_memory_is_that_of_the_tightest_group(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine_peak.available_bytes(tmp_path) == expected


def test_a_system_that_does_not_say_its_memory(tmp_path: Path) -> None:
    assert machine_peak.available_bytes(tmp_path) is None


# ---- the scaling model


def ring(values: list[list[int]]) -> tuple[list[list[int]], int]:
    """Sum lists over G processes in a ring, a chunk at a time; returns the sums and the numbers that one sends."""
    count = len(values)
    size = len(values[0]) // count
    sent = 0
    for phase in ("sum", "share"):
        for turn in range(count - 1):
            messages = []
            for rank in range(count):
                chunk = (rank - turn + (phase == "share")) % count
                messages.append((rank, chunk, values[rank][chunk * size : (chunk + 1) * size]))
            for rank, chunk, numbers in messages:
                sent += len(numbers) if rank == 0 else 0
                neighbour = values[(rank + 1) % count]
                for place, number in enumerate(numbers, chunk * size):
                    neighbour[place] = neighbour[place] + number if phase == "sum" else number
    return values, sent


@pytest.mark.parametrize("count", [1, 2, 4])
def test_averaging_sends_what_a_ring_sends(count: int) -> None:
    values = [[rank + place for place in range(8)] for rank in range(count)]
    expected = [sum(column) for column in zip(*values, strict=True)]
    summed, sent = ring(values)
    assert all(row == expected for row in summed)
    assert cost.ring_bytes(8, count) == sent


@pytest.fixture
def tiny(experiment: Experiment) -> Config:
    return load_config(experiment.config)


def test_the_cost_of_a_step_grows_as_it_should(tiny: Config) -> None:
    """8 channels, 4 parts, 4 classes."""
    settings = {**tiny.model_cfg.model_dump(), "input_size": [32, 22]}
    one = cost.step_cost(settings, tiny, 8, 9, 1)
    two = cost.step_cost(settings, tiny, 8, 9, 2)
    gram = 3 * 4 * 8 * 8 * 8  # parts x N x N x channels, forward and twice that backward, of the whole batch
    assert one.macs - gram == 2 * (two.macs - gram)
    assert (one.reduced_bytes, one.gathered_bytes) == (0, 0)
    parameters = sum(p.numel() for p in build_model(settings).parameters())
    assert two.parameters == parameters
    assert two.reduced_bytes == 4 * parameters
    assert two.gathered_bytes == 2 * 4 * (8 * 8 * 4) // 2  # half of N x C x P numbers, and of their gradient
    assert two.optimiser_bytes == 7 * 4 * parameters
    wider = cost.step_cost(cost._twice(settings, "classes"), tiny, 8, 9, 1)
    assert wider.macs - one.macs == 3 * 8 * 4 * 8 * 4  # three products for each of N x P x C x 4 further classes


def test_the_estimate_is_the_longer_of_multiplying_and_moving() -> None:
    machine = cost.Machine(half=100.0, single=10.0, memory=50.0, link=5.0, products=0.5, transfers=1.0)
    works = {
        Key("forward", "a", "A", "convolution"): Work(1, {"bfloat16": 200, "float32": 10}, 50),  # 4 + 2 s against 1 s
        Key("forward", "a", "A", "pooling"): Work(1, {}, 100),  # 2 s
        Key("backward", "a", "A", "convolution"): Work(1, {"bfloat16": 50}, 200),  # 1 s against 4 s
    }
    assert cost.StepCost(works, 1, 50, 5, 10).seconds(machine) == pytest.approx(6 + 2 + 4 + 1 + 2)
    assert cost.StepCost(works, 1, 50, 35, 10).seconds(machine) == pytest.approx(6 + 2 + 7 + 1 + 2)


def test_scaling(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scaling.json"
    assert run(experiment, "--scaling", "--batch", "8", "2", "--json", str(file)) == 0
    said = capsys.readouterr().out
    assert "4 iterations on 8 H100 SXM: about 0.0 h, an estimate" in said
    result = json.loads(file.read_text())
    names = [step["case"] for step in result["steps"]]
    assert names[0] == "1 GPU"
    assert {"8 GPUs", "8 GPUs, twice N", "8 GPUs, twice S", "8 GPUs, twice the channels", "8 GPUs, twice K"} <= set(
        names
    )
    by_name = {step["case"]: step for step in result["steps"]}
    assert by_name["8 GPUs, twice the channels"]["multiply_adds"] > 3 * by_name["8 GPUs"]["multiply_adds"]


def test_a_model_of_torch_modules_alone_is_one_layer() -> None:
    model = nn.Linear(3, 2)
    with Counter({"": nn.Sequential(model)}) as counter:
        model(torch.zeros(4, 3))
    assert {key.layer for key in counter.works} == {THE_STEP}
    assert total(counter.works.values()).all_macs == 24


def test_a_batch_in_parts_has_the_same_phases(experiment: Experiment, tmp_path: Path) -> None:
    """Each part but the last runs forward twice: once for the losses, once to go backward."""
    counted = {}
    for parts in (1, 2):
        file = tmp_path / f"{parts}.json"
        options = ("--steps", "1", "--set", f"trainer_cfg.accumulate={parts}", "--json", str(file))
        assert run(experiment, "--batch", "4", "2", *options) == 0
        profile = json.loads(file.read_text())
        assert all(seconds > 0 for seconds in profile["seconds"]["phases"].values())
        counted[parts] = profile["multiply_adds"]
    forward = {parts: count["forward_of_a_sequence"]["executed"] for parts, count in counted.items()}
    assert forward[2] == pytest.approx(1.5 * forward[1])
    assert counted[1]["step"]["plain_form"] == counted[2]["step"]["plain_form"]
