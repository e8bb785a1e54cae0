"""Tests of checkpoints: features, results, baselines, protocols and submissions."""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import dygait
from dygait import cli
from dygait.config import load_config
from dygait.evaluation.features import SavedFeatures, load_features
from helpers.experiments import Experiment, features_of, make_experiment


def pickles_of(experiment: Experiment, saved: SavedFeatures) -> list[np.ndarray]:
    names = zip(saved.ids, saved.types, saved.views, strict=True)
    return [pickle.loads((experiment.root / i / t / v / f"{v}.pkl").read_bytes()) for i, t, v in names]


def test_features_equal_those_of_the_public_model(trained: Experiment) -> None:
    """The public functions and a pickle give the same features as the extraction."""
    config = load_config(trained.config)
    model = dygait.build_model(config.model_cfg.model_dump(), dataset_name="CASIA-B")
    dygait.load_weights(model, trained.checkpoints / "tiny-00002.pt")
    model.eval()
    extracted = features_of(trained)
    files = pickles_of(trained, extracted)
    for index in (0, 7, 15):
        frames = torch.from_numpy(files[index]).float() / 255
        with torch.no_grad():
            embedding = model(frames[None]).inference[0]
        np.testing.assert_allclose(extracted.features[index], embedding.numpy(), rtol=0, atol=1e-5)


def test_results_are_written_and_equal_those_of_evaluate(
    trained: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained.run("test") == 0
    output = capsys.readouterr().out
    saved = features_of(trained)
    arguments = (saved.ids, saved.types, saved.views, "CASIA-B", "euc")
    expected = dygait.evaluate(saved.features, *arguments)
    result = json.loads((trained.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert result["percentages"] == json.loads(json.dumps(expected))
    assert result["feature"] == "embeddings"

    # The baseline by its definition: the mean silhouette of each sequence as a vector.
    energies = np.stack([frames.mean(0) / 255 for frames in pickles_of(trained, saved)])
    np.testing.assert_allclose(saved.gei, energies, rtol=0, atol=1e-6)
    baseline = json.loads((trained.checkpoints / "tiny-00002-CASIA-B-gei.json").read_text())
    expected_baseline = dygait.evaluate(energies.reshape(len(energies), -1, 1).astype(np.float32), *arguments)
    assert baseline["percentages"] == json.loads(json.dumps(expected_baseline))

    for part in ("DyGait", "GEI nearest neighbour", "chance", "NM", "BG", "CL", "000", "090"):
        assert part in output
    record = json.loads((trained.folder / "logs" / "run_test.json").read_text())
    assert record["phase"] == "test"


@pytest.mark.parametrize("feature", ["after_neck", "logits"])
def test_another_feature(trained: Experiment, tmp_path: Path, feature: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is saved, scored and named in the results; with `--weights`, these set the number of classes."""
    other_run, overrides = trained.at(tmp_path), (f"evaluator_cfg.feature={feature}", "evaluator_cfg.baseline=null")
    without_classes = [*overrides, "model_cfg.SeparateBNNecks.class_num=1", "evaluator_cfg.report=false"]
    path = trained.checkpoints / "tiny-00002.pt"
    assert other_run.run("test", *without_classes, options=["--weights", str(path)]) == 0
    folder = tmp_path / "CASIA-B" / "DyGait" / path.stem / "features"
    saved = load_features(folder / f"{path.stem}-00002")
    model = dygait.build_model(load_config(trained.config).model_cfg.model_dump(), dataset_name="CASIA-B")
    dygait.load_weights(model, path)
    model.eval()
    frames = torch.from_numpy(pickles_of(trained, saved)[3]).float() / 255
    with torch.no_grad():
        output = model(frames[None])
    np.testing.assert_allclose(saved.features[3], getattr(output, feature)[0].numpy(), rtol=0, atol=1e-5)
    assert saved.origin["feature"] == feature
    assert f"distance euc, feature {feature}" in capsys.readouterr().out

    assert other_run.run("test", *overrides, f"evaluator_cfg.restore_hint={path}") == 0
    result = json.loads((other_run.checkpoints / f"tiny-00002-CASIA-B-euc-{feature}.json").read_text())
    assert result["feature"] == feature
    expected = dygait.evaluate(saved.features, saved.ids, saved.types, saved.views)
    assert result["percentages"] == json.loads(json.dumps(expected))
    assert f"distance; feature: {feature}." in (other_run.folder / "report" / "report.html").read_text()
    if feature == "logits":
        assert other_run.run("test", *without_classes, f"evaluator_cfg.restore_hint={path}") == 2
        assert "does not match the model" in capsys.readouterr().err


def test_a_feature_that_the_network_does_not_give(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("model_cfg.SeparateBNNecks=null", "evaluator_cfg.feature=after_neck")
    assert trained.run("test", "model_cfg.class_num=4", *overrides) == 2
    assert "the model gives no after_neck with these settings; choose embeddings or" in capsys.readouterr().err


def test_choice_of_the_checkpoint(trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other_run = trained.at(tmp_path)
    assert other_run.run("test") == 2
    assert "there is no checkpoint tiny-*.pt in" in capsys.readouterr().err
    assert trained.run("test", options=["--iter", "7"]) == 2
    error = capsys.readouterr().err
    assert "no such checkpoint" in error
    assert "tiny-00007.pt" in error
    path = trained.checkpoints / "tiny-00002.pt"
    assert other_run.run("test", f"evaluator_cfg.restore_hint={path}", "evaluator_cfg.report=false") == 0
    assert not (other_run.folder / "report").exists()
    assert f"restored {path}: 29 tensors match" in capsys.readouterr().out
    assert len(list(other_run.checkpoints.glob("tiny-00002-*.json"))) == 2
    # The tree has nm-01 and no nm-02: the cross-view protocol has no gallery.
    assert trained.run("test", "evaluator_cfg.cross_view_gallery=true") == 2
    assert "gallery" in capsys.readouterr().err


def test_a_dataset_without_training_ids(
    trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The class head, whose size follows from the training ids, is not part of a test."""
    (tmp_path / "partition.json").write_text(json.dumps({"TEST_SET": ["005", "006"]}))
    settings = yaml.safe_load(trained.config.read_text())
    settings["model_cfg"]["SeparateBNNecks"].pop("class_num")
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(settings))
    other_run = dataclasses.replace(trained, config=tmp_path / "test.yaml", output=tmp_path / "output")
    overrides = [
        f"data_cfg.dataset_partition={tmp_path / 'partition.json'}",
        f"evaluator_cfg.restore_hint={trained.checkpoints / 'tiny-00002.pt'}",
        "evaluator_cfg.report=false",
    ]
    assert other_run.run("test", *overrides) == 0
    assert "the class head keeps its initial values" in capsys.readouterr().out
    actual = json.loads((other_run.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert trained.run("test", "evaluator_cfg.report=false") == 0
    expected = json.loads((trained.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert actual["percentages"] == expected["percentages"]
    assert other_run.run("train", *overrides[:1]) == 2
    assert "names no training id" in capsys.readouterr().err


def make_run(folder: Path, name: str, partition: dict[str, list[str]], **tree: Any) -> tuple[Experiment, list[str]]:
    experiment = make_experiment(folder, **tree)
    (folder / "partition.json").write_text(json.dumps(partition))
    classes = len(partition["TRAIN_SET"])
    return experiment, [
        f"data_cfg.dataset_name={name}",
        "evaluator_cfg.baseline=null",
        "trainer_cfg.total_iter=1",
        f"model_cfg.SeparateBNNecks.class_num={classes}",
    ]


def test_probe_set_of_gait3d(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["0001", "0002", "0003", "0004", "0005"]
    probes = [f"{i}-camid0_videoid1-seq0" for i in ids[2:]]
    partition = {"TRAIN_SET": ids[:2], "TEST_SET": ids[2:], "PROBE_SET": probes}
    experiment, sets = make_run(
        tmp_path, "Gait3D", partition, ids=ids, types=["camid0_videoid1", "camid1_videoid2"], views=["seq0", "seq1"]
    )
    assert experiment.run("train", *sets) == 0
    assert experiment.run("test", *sets) == 0
    folder = experiment.output / "Gait3D" / "DyGait" / "tiny" / "checkpoints"
    result = json.loads((folder / "tiny-00001-Gait3D-euc.json").read_text())
    (measures,) = result["percentages"].values()
    assert all(0 <= measures[m] <= 100 for m in ("rank-1", "rank-5", "rank-10", "mAP", "mINP"))
    (tmp_path / "partition.json").write_text(json.dumps({**partition, "PROBE_SET": []}))
    assert experiment.run("test", *sets) == 2
    assert "PROBE_SET" in capsys.readouterr().err


def test_both_protocols_of_ccpg(tmp_path: Path) -> None:
    types = ["U0_D0", "U0_D0_BG", "U1_D1", "U0_D3", "U3_D3", "U1_D0"]
    partition = {"TRAIN_SET": ["000", "001"], "TEST_SET": ["100", "101"]}
    experiment, sets = make_run(
        tmp_path, "CCPG", partition, ids=[*partition["TRAIN_SET"], *partition["TEST_SET"]], types=types,
        views=["00_0", "01_0"], frames=(6, 8),
    )  # fmt: skip
    assert experiment.run("train", *sets, "trainer_cfg.sampler.batch_size=[2,2]", "evaluator_cfg.intervals=0") == 0
    assert experiment.run("test", *sets, "evaluator_cfg.intervals=0") == 0
    folder = experiment.output / "CCPG" / "DyGait" / "tiny"
    saved = load_features(folder / "features" / "tiny-00001")
    page = (folder / "report" / "report.html").read_text()
    evaluated = tmp_path / "evaluated.json"
    assert cli.main(["evaluate", str(folder / "features" / "tiny-00001"), "--json", str(evaluated)]) == 0
    for name, stem in (("CCPG/re-identification", "evaluated"), ("CCPG/gait", "evaluated-CCPG_gait")):
        path = folder / "checkpoints" / f"tiny-00001-{name.replace('/', '_')}-euc.json"
        percentages = json.loads(path.read_text())["percentages"]
        assert percentages == json.loads(evaluated.with_stem(stem).read_text())["percentages"]
        expected = dygait.evaluate(saved.features, saved.ids, saved.types, saved.views, name)
        assert percentages == json.loads(json.dumps(expected))
        assert f"<h2>tiny-00001, {name}</h2>" in page


def test_grew_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = [f"{i:05d}" for i in range(1, 11)]
    ids = ["00001train", "00002train", *gallery]
    partition = {"TRAIN_SET": ids[:2], "TEST_SET": [*gallery, "probe"]}
    experiment, sets = make_run(tmp_path, "GREW", partition, ids=ids, types=["01", "02"], views=["a"], frames=(6, 8))
    for number in range(3):
        probe = experiment.root / "probe" / "03" / f"video{number}"
        probe.mkdir(parents=True)
        source = experiment.root / gallery[number] / "01" / "a" / "a.pkl"
        (probe / f"video{number}.pkl").write_bytes(source.read_bytes())
    sets += ["evaluator_cfg.eval_func=GREW_submission", "trainer_cfg.sampler.batch_size=[2,2]"]
    assert experiment.run("train", *sets) == 0
    assert experiment.run("test", *sets) == 0
    folder = experiment.output / "GREW" / "DyGait" / "tiny" / "checkpoints"
    rows = [line.split(",") for line in (folder / "tiny-00001-submission.csv").read_text().splitlines()]
    assert rows[0] == ["videoId", *(f"rank{k}" for k in range(1, 21))]
    # Each probe is a copy of a gallery sequence, which must be its nearest.
    assert [row[:2] for row in rows[1:]] == [[f"video{n}", str(n + 1)] for n in range(3)]
    assert (folder / "tiny-00001-submission.zip").is_file()
    assert "submission.csv" in capsys.readouterr().out


@pytest.mark.parametrize(("keep", "expected"), [("latest", {2}), ("none", {1})])
def test_keep_features(trained: Experiment, tmp_path: Path, keep: str, expected: set[int]) -> None:
    """`none` deletes the features of this test, not those that an earlier test kept."""
    other_run = trained.at(tmp_path)
    state = trained.checkpoint(2)
    for iteration in (1, 2):
        other_run.checkpoints.mkdir(parents=True, exist_ok=True)
        path = other_run.checkpoints / f"tiny-{iteration:05d}.pt"
        torch.save({**state, "iteration": iteration}, path)
        setting = keep if iteration == 2 else "all"
        assert other_run.run("test", f"evaluator_cfg.keep_features={setting}") == 0
    folders = other_run.folder / "features"
    assert {int(folder.name.rpartition("-")[2]) for folder in folders.iterdir()} == expected
    for iteration in expected:
        saved = load_features(folders / f"tiny-{iteration:05d}")
        assert saved.origin["iteration"] == iteration
        assert saved.origin["frames_cut"] == {"sequences": 0, "frames": 0}
