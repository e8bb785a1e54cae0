"""Training: the files of a run, the effect of each setting, and exact resuming."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dygait
from dygait.config import load_config
from dygait.data.packing import pack
from dygait.modeling import MODELS
from dygait.modeling.models.dygait import DyGait
from dygait.runs import sources
from helpers.experiments import TRAIN, Experiment, make_experiment

LOSSES = ("triplet/loss", "softmax/loss")


@pytest.fixture(scope="module")
def trained(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished run of 8 iterations with checkpoints at 3, 6 and 8, which tests do not change."""
    run = shared.at(tmp_path_factory.mktemp("trained"))
    run.train("trainer_cfg.total_iter=8", "trainer_cfg.save_iter=3", "trainer_cfg.with_test=true")
    return run


def test_loss_falls(experiment: Experiment) -> None:
    """By a large factor and at a low learning rate, so that the test does not depend on rounding."""
    rows = experiment.train(
        "trainer_cfg.total_iter=60",
        "trainer_cfg.save_iter=60",
        "scheduler_cfg.milestones=[50]",
        "optimizer_cfg={solver: Adam, lr: 0.003}",
        "loss_cfg.0.margin=10",
    )
    assert [row["iteration"] for row in rows] == list(range(1, 61))
    for loss in LOSSES:
        first, last = (np.mean([row[loss] for row in part]) for part in (rows[:8], rows[-8:]))
        assert last < 0.6 * first, loss


def test_checkpoints_and_records(trained: Experiment) -> None:
    assert sorted(p.name for p in trained.checkpoints.glob("*.pt")) == [f"tiny-{i:05d}.pt" for i in (3, 6, 8)]
    assert sorted(p.name for p in trained.checkpoints.glob("*-euc.json")) == [
        f"tiny-{i:05d}-CASIA-B-euc.json" for i in (3, 6, 8)
    ]
    state = trained.checkpoint(8)
    assert state["iteration"] == 8
    assert state["seed"] == 0
    assert state["version"] == dygait.__version__
    assert state["config"]["trainer_cfg"]["total_iter"] == 8
    assert {"model", "optimizer", "scheduler", "scaler"} <= state.keys()

    resolved = load_config(trained.folder / "logs" / "config_train.yaml")
    assert resolved.as_dict() == state["config"]
    record = json.loads((trained.folder / "logs" / "run_train.json").read_text())
    assert record["phase"] == "train"
    assert record["device"] == "cpu"
    assert record["processes"] == 1
    assert record["torch"] == torch.__version__
    assert len(record["data"]["fingerprint"]) >= 16
    assert {"command", "git", "time", "python", "dygait"} <= record.keys()


def test_learning_rate_follows_the_schedule(trained: Experiment) -> None:
    rows = trained.scalars()
    assert [row["lr"] for row in rows] == pytest.approx([0.003] * 5 + [0.0015] * 3)
    assert all(row["gradient_norm"] > 0 for row in rows)


def test_tensorboard(trained: Experiment) -> None:
    events = EventAccumulator(str(trained.folder / "summary"))
    events.Reload()
    tags = events.Tags()
    assert {
        "triplet/loss", "triplet/hard_loss", "triplet/loss_num", "triplet/mean_dist", "softmax/loss",
        "softmax/accuracy", "train/lr", "train/gradient_norm", "speed/sequences_per_second",
    } <= set(tags["scalars"])  # fmt: skip
    assert [e.step for e in events.Scalars("triplet/loss")] == list(range(1, 9))
    logged = [e.value for e in events.Scalars("triplet/loss")]
    assert logged == pytest.approx([row["triplet/loss"] for row in trained.scalars()])
    assert tags["images"] == ["silhouettes"]
    image = events.Images("silhouettes")[0]
    assert (image.height, image.width) == (4 * (32 + 1) + 1, 9 * (22 + 1) + 1)  # a line around each frame
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "total_iter: 8" in text
    assert events.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"
    tested = [t for t in tags["scalars"] if t.startswith("test CASIA-B")]
    assert {"NM", "BG", "CL"} == {t.split("/")[1].split()[0] for t in tested}
    assert [e.step for e in events.Scalars(tested[0])] == [3, 6, 8]


def test_log_file(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiment.run("train", options=["--log_to_file"]) == 0
    output = capsys.readouterr().out
    (file,) = (experiment.folder / "logs").glob("train-*.txt")
    assert file.read_text() == output
    assert "iteration 4/4: triplet/loss" in output
    assert "sequences/s, 0 s left" in output
    assert "32 sequences of 4 ids" in output


def test_a_repeated_run_is_equal(experiment: Experiment, tmp_path: Path) -> None:
    repeated = experiment.at(tmp_path / "repeated")
    assert experiment.train() == repeated.train()
    assert experiment.train("trainer_cfg.seed=1") != repeated.scalars()


@pytest.mark.parametrize("setting", ["num_workers=1", "num_workers=2", "cache=true"])
def test_workers_and_cache_do_not_matter(experiment: Experiment, trained: Experiment, setting: str) -> None:
    assert experiment.train("trainer_cfg.total_iter=8", f"data_cfg.{setting}") == trained.scalars()


def test_a_packed_store_does_not_matter(experiment: Experiment, trained: Experiment, tmp_path: Path) -> None:
    pack(experiment.root, tmp_path / "store")
    rows = experiment.train("trainer_cfg.total_iter=8", f"data_cfg.dataset_root={tmp_path / 'store'}")
    assert rows == trained.scalars()
    assert experiment.run("test", f"data_cfg.dataset_root={tmp_path / 'store'}", options=["--iter", "8"]) == 0


@pytest.mark.parametrize("packed", [False, True])
def test_frames_that_do_not_fit_are_reported_with_both_sizes(
    experiment: Experiment, tmp_path: Path, packed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    root = experiment.root
    if packed:
        pack(root, root := tmp_path / "store")
    overrides = [f"data_cfg.dataset_root={root}", "model_cfg.input_size=[64, 44]"]
    assert experiment.run("train", *overrides) == 2
    output = capfd.readouterr().err
    assert "model_cfg.input_size is 64x44, but the frames of" in output
    assert "32x22 after the transform" in output
    assert experiment.run("train", f"data_cfg.dataset_root={root}", "trainer_cfg.transform.cutting=11",
                          "trainer_cfg.transform.type=BaseSilCuttingTransform") == 2  # fmt: skip
    assert "cutting 11 columns from both sides of frames that are 22 wide leaves nothing" in capfd.readouterr().err


def test_several_datasets_train_together(experiment: Experiment, tmp_path: Path) -> None:
    pack(experiment.root, tmp_path / "store")
    partition = yaml.safe_load(experiment.config.read_text())["data_cfg"]["dataset_partition"]
    overrides = [
        f"data_cfg.dataset_root=[{experiment.root}, {tmp_path / 'store'}]",
        f"data_cfg.dataset_partition=[{partition}, {partition}]",
        "model_cfg.SeparateBNNecks.class_num=8",
    ]
    ids = sources.open_data(load_config(experiment.config, overrides)).train_ids
    assert ids == [f"{number}:{person}" for number in (1, 2) for person in TRAIN]
    assert len(experiment.train(*overrides)) == 4


@pytest.mark.parametrize("source", ["iteration", "path", "option"])
def test_resume(experiment: Experiment, trained: Experiment, source: str) -> None:
    experiment.train("trainer_cfg.total_iter=8", "trainer_cfg.save_iter=3")
    if source == "option":
        assert experiment.run("train", "trainer_cfg.total_iter=8", options=["--iter", "3"]) == 0
    else:
        hint = 3 if source == "iteration" else experiment.checkpoints / "tiny-00003.pt"
        experiment.train("trainer_cfg.total_iter=8", f"trainer_cfg.restore_hint={hint}")
    assert experiment.scalars() == trained.scalars()
    resumed, uninterrupted = experiment.checkpoint(8), trained.checkpoint(8)
    assert resumed["scheduler"] == uninterrupted["scheduler"]
    for name, tensor in uninterrupted["model"].items():
        assert torch.equal(resumed["model"][name], tensor), name


EXACT = {
    "parameter groups": ["optimizer_cfg.param_groups=[{match: 'backbone.*', lr: 0.0003}]"],
    "half precision, BatchNorm, a worker": [
        "trainer_cfg.enable_float16=true", "model_cfg.norm=batch", "data_cfg.num_workers=1"
    ],
}  # fmt: skip


@pytest.mark.parametrize("settings", EXACT.values(), ids=EXACT)
def test_a_run_in_two_parts_is_exact(experiment: Experiment, tmp_path: Path, settings: list[str]) -> None:
    whole, parts = experiment.at(tmp_path / "whole"), experiment.at(tmp_path / "parts")
    rows = whole.train(*settings, "trainer_cfg.total_iter=3")
    parts.train(*settings, "trainer_cfg.total_iter=2")
    assert parts.train(*settings, "trainer_cfg.total_iter=3", "trainer_cfg.restore_hint=2") == rows
    for key in ("model", "optimizer", "scheduler"):
        torch.testing.assert_close(parts.checkpoint(3)[key], whole.checkpoint(3)[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("reset", "step", "epoch", "rate"),
    [
        ((), 8, 8, 0.0015),
        (("optimizer",), 2, 8, 0.0015),
        (("scheduler",), 8, 2, 0.003),
        (("optimizer", "scheduler"), 2, 2, 0.003),
    ],
)
def test_resets(
    experiment: Experiment, trained: Experiment, reset: tuple[str, ...], step: int, epoch: int, rate: float
) -> None:
    hint = f"trainer_cfg.restore_hint={trained.checkpoints / 'tiny-00006.pt'}"
    rows = experiment.train("trainer_cfg.total_iter=8", hint, *(f"trainer_cfg.{part}_reset=true" for part in reset))
    state = experiment.checkpoint(8)
    assert int(state["optimizer"]["state"][0]["step"]) == step
    assert state["scheduler"]["last_epoch"] == epoch
    assert [row["lr"] for row in rows] == pytest.approx([rate, rate])
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(rate)


def test_other_head_does_not_fit_unless_strict_is_off(
    experiment: Experiment, trained: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = f"trainer_cfg.restore_hint={trained.checkpoints / 'tiny-00006.pt'}"
    overrides = [hint, "model_cfg.SeparateBNNecks.class_num=9", "trainer_cfg.total_iter=8"]
    assert experiment.run("train", *overrides) == 2
    assert "necks.fc_bin: file [4, 8, 4], model [4, 8, 9]" in capsys.readouterr().err
    assert experiment.run("train", *overrides, "trainer_cfg.restore_ckpt_strict=false") == 0
    assert "1 differ in shape (necks.fc_bin: file [4, 8, 4], model [4, 8, 9])" in capsys.readouterr().out
    assert experiment.checkpoint(8)["model"]["necks.fc_bin"].shape == (4, 8, 9)


def test_another_solver_does_not_fit(
    experiment: Experiment, trained: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = f"trainer_cfg.restore_hint={trained.checkpoints / 'tiny-00006.pt'}"
    sgd = ["optimizer_cfg.solver=SGD", "optimizer_cfg.momentum=0.9", "trainer_cfg.total_iter=8"]
    code = experiment.run("train", hint, *sgd)
    error = capsys.readouterr().err
    assert code == 2, error
    assert "optimizer_reset" in error
    assert experiment.run("train", hint, *sgd, "trainer_cfg.optimizer_reset=true") == 0


def test_fixed_batch_norm_keeps_its_statistics(experiment: Experiment) -> None:
    experiment.train("model_cfg.norm=batch", "trainer_cfg.fix_BN=true", "trainer_cfg.with_test=true")
    fixed = experiment.checkpoint(4)["model"]
    running = {name: tensor for name, tensor in fixed.items() if "running_" in name}
    assert running
    for name, tensor in running.items():
        assert torch.equal(tensor, torch.full_like(tensor, float("var" in name))), name
    experiment.train("model_cfg.norm=batch")
    updated = experiment.checkpoint(4)["model"]
    assert not any(torch.equal(updated[name], fixed[name]) for name in running)


def test_gradient_clipping(experiment: Experiment, trained: Experiment) -> None:
    sgd = "optimizer_cfg={solver: SGD, lr: 1.0, weight_decay: 0}", "trainer_cfg.total_iter=1"
    experiment.train(*sgd, "trainer_cfg.grad_clip_norm=0.01", "scheduler_cfg.milestones=[50]")
    clipped = experiment.checkpoint(1)["model"]
    experiment.train(*sgd, "trainer_cfg.grad_clip_norm=0.02", "scheduler_cfg.milestones=[50]")
    clipped_less = experiment.checkpoint(1)["model"]
    assert experiment.scalars()[0]["gradient_norm"] > 0.02  # the norm before clipping
    # A step of SGD at rate 1 is the gradient: 0.02 goes twice as far as 0.01, so they are 0.01 apart.
    parameters = [n for n in clipped if "running_" not in n and "num_batches" not in n]
    distance = math.sqrt(sum(float((clipped[n] - clipped_less[n]).double().square().sum()) for n in parameters))
    assert distance == pytest.approx(0.01, rel=1e-3)


def test_sync_batch_norm_on_one_process_is_logged(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiment.run("train", "trainer_cfg.sync_BN=true") == 0
    assert (
        "notice: trainer_cfg.sync_BN has no effect in this run: one process sees the whole batch"
        in capsys.readouterr().out
    )


def test_ids_that_are_not_on_disk_are_logged(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partition = tmp_path / "partition.json"
    partition.write_text(json.dumps({"TRAIN_SET": ["001", "002", "003", "077"], "TEST_SET": ["006", "078", "079"]}))
    assert experiment.run("train", f"data_cfg.dataset_partition={partition}") == 0
    output = capsys.readouterr().out
    assert "1 of 4 train ids are not on disk (077)" in output
    assert "2 of 3 test ids are not on disk (078, 079)" in output
    assert "2 ids on disk are in neither set (004, 005)" in output


class TestUnreadableSequences:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Experiment:
        experiment = make_experiment(tmp_path)
        (experiment.root / "002" / "nm-01" / "090" / "090.pkl").write_bytes(b"rotten")
        (experiment.root / "006" / "bg-01" / "000" / "000.pkl").write_bytes(b"")
        return experiment

    @pytest.mark.parametrize(("phase", "file"), [("train", "002/nm-01/090/090.pkl"), ("test", "006/bg-01/000")])
    def test_stop_the_run_before_it_starts(
        self, damaged: Experiment, capsys: pytest.CaptureFixture[str], phase: str, file: str
    ) -> None:
        if phase == "test":
            damaged.train("data_cfg.on_error=skip", "trainer_cfg.total_iter=1")
        capsys.readouterr()
        assert damaged.run(phase) == 2
        output = capsys.readouterr().err
        assert "1 of " in output
        assert "sequences cannot be used" in output
        assert file in output
        assert "data_cfg.on_error" in output

    @pytest.mark.parametrize("cache", ["false", "true"])
    def test_are_skipped_and_counted_on_request(self, damaged: Experiment, cache: str) -> None:
        damaged.train("data_cfg.on_error=skip", f"data_cfg.cache={cache}")
        assert damaged.run("test", "data_cfg.on_error=skip", f"data_cfg.cache={cache}") == 0
        for phase, file in (("train", "002/nm-01/090/090.pkl"), ("test", "006/bg-01/000/000.pkl")):
            notes = json.loads((damaged.folder / "logs" / f"run_{phase}.json").read_text())["data"]["notes"]
            (note,) = (n for n in notes if "on_error" in n)
            assert note.startswith("1 of ")
            assert file in note

    def test_skipping_all_sequences_is_an_error(self, damaged: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
        for path in damaged.root.rglob("*.pkl"):
            path.write_bytes(b"")
        assert damaged.run("train", "data_cfg.on_error=skip") == 2
        assert "none is left" in capsys.readouterr().err


class TestSeveralModalities:
    @pytest.fixture
    def bimodal(self, tmp_path: Path) -> Experiment:
        """A tree with two files for each sequence, and a configuration that reads both."""
        experiment = make_experiment(tmp_path)
        for path in list(experiment.root.rglob("*.pkl")):
            path.with_name("zzz.pkl").write_bytes(path.read_bytes())
        settings = yaml.safe_load(experiment.config.read_text())
        settings["data_cfg"]["data_in_use"] = [True, True]
        for section in ("trainer_cfg", "evaluator_cfg"):
            settings[section]["transform"] = [{"type": "BaseSilTransform"}, {"type": "BaseSilTransform", "divisor": 51}]
        experiment.config.write_text(yaml.safe_dump(settings))
        return experiment

    @pytest.mark.parametrize("cache", ["false", "true"])
    def test_reach_their_model(self, bimodal: Experiment, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
        seen = []

        class Both(DyGait):
            modalities = 2

            def forward(self, inputs, lengths=None):  # type: ignore[no-untyped-def]
                first, second = inputs
                seen.append(torch.allclose(second, 5 * first))
                return super().forward(first, lengths)

        monkeypatch.setattr(MODELS, "get", lambda name: Both)
        monkeypatch.setattr(MODELS, "build", lambda spec: Both(**{k: v for k, v in spec.items() if k != "model"}))
        bimodal.train(f"data_cfg.cache={cache}")
        assert bimodal.run("test", f"data_cfg.cache={cache}") == 0
        assert len(seen) > 4
        assert all(seen)

    def test_a_model_that_takes_one(self, bimodal: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
        assert bimodal.run("train") == 2
        assert "make 2 input(s) of a sequence, but the model DyGait takes 1" in capsys.readouterr().err

    @pytest.mark.parametrize("cache", ["false", "true"])
    def test_stacking(self, bimodal: Experiment, cache: str, capsys: pytest.CaptureFixture[str]) -> None:
        settings = yaml.safe_load(bimodal.config.read_text())
        for section in ("trainer_cfg", "evaluator_cfg"):
            settings[section]["transform"] = {"type": "BaseSilTransform"}
        bimodal.config.write_text(yaml.safe_dump(settings))
        assert bimodal.run("train", f"data_cfg.cache={cache}") == 2
        assert "the model takes frames of 1 channels, got 2" in capsys.readouterr().err
        sizes = {"mode": "p3d", "in_channels": 2, "layers": [1, 1, 1, 1], "channels": [2, 3, 4, 6]}
        necks = {"class_num": len(TRAIN)}
        settings["model_cfg"] = {"model": "DeepGaitV2", "bin_num": [4], "Backbone": sizes, "SeparateBNNecks": necks}
        bimodal.config.write_text(yaml.safe_dump(settings))
        assert bimodal.run("train", f"data_cfg.cache={cache}") == 0
        assert bimodal.run("test", f"data_cfg.cache={cache}") == 0
