"""Whitening: against covariances summed row by row, and folded weights against features whitened afterwards."""

import json
from pathlib import Path

import numpy as np
import pytest

import dygait
from conftest import make_tree
from dygait import cli
from dygait.config import load_config
from dygait.data.stores import open_store
from dygait.deployment import with_weights
from dygait.deployment.whitening import (
    SHRINKAGE,
    between_view_whitening,
    training_sequences,
    within_class_whitening,
)
from dygait.errors import UserError
from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from helpers.experiments import Experiment, features_of


@pytest.fixture(scope="module")
def trained(shared: Experiment) -> Experiment:
    shared.train("trainer_cfg.total_iter=2", "model_cfg.norm=batch")
    return shared


def test_the_within_class_covariance_becomes_a_multiple_of_the_identity() -> None:
    rng = np.random.default_rng(0)
    ids = np.repeat(list("abcde"), [40, 30, 50, 2, 60])
    x = (
        rng.normal(size=(len(ids), 4, 2)) * np.array([5, 1, 0.5, 2])[:, None]
        + rng.normal(size=(5, 4, 2))[np.unique(ids, return_inverse=True)[1]]
    )
    mean, matrix = within_class_whitening(x, ids)
    for part in range(2):
        features = x[:, :, part]
        covariance = np.zeros((4, 4))
        for row, id in zip(features, ids, strict=True):
            deviation = row - features[ids == id].mean(0)
            covariance += np.outer(deviation, deviation) / len(features)
        shrunken = covariance + SHRINKAGE["people"] * np.trace(covariance) / 4 * np.eye(4)
        whitened = matrix[part].T @ shrunken @ matrix[part]
        np.testing.assert_allclose(whitened, whitened[0, 0] * np.eye(4), atol=1e-9 * whitened[0, 0])
        np.testing.assert_allclose(matrix[part], matrix[part].T, atol=1e-12)
        np.testing.assert_allclose(mean[part], features.mean(0))
        centred = features - mean[part]
        np.testing.assert_allclose(((centred @ matrix[part]) ** 2).sum(), (centred**2).sum())


def test_whitening_improves_rank_1_under_within_class_noise() -> None:
    rng = np.random.default_rng(1)
    means = np.concatenate([np.zeros((20, 2)), rng.normal(size=(20, 6))], 1)
    noise = np.array([5.0, 5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])

    def walks(subjects: range) -> tuple[np.ndarray, np.ndarray]:
        ids = np.repeat(list(subjects), 20)
        return ids, means[ids] + noise * rng.normal(size=(len(ids), 8))

    def rank_1(ids: np.ndarray, x: np.ndarray) -> float:
        distances = ((x[:, None] - x[None]) ** 2).sum(-1) + 1e9 * np.eye(len(x))
        return float((ids[distances.argmin(1)] == ids).mean())

    ids, x = walks(range(10))
    mean, matrix = within_class_whitening(x[:, :, None], ids)
    test_ids, test_x = walks(range(10, 20))
    assert rank_1(test_ids, (test_x - mean[0]) @ matrix[0]) > 0.6 > 0.45 > rank_1(test_ids, test_x)


def test_whitening_by_views() -> None:
    """Differences between views vanish, whoever was seen; a view with more sequences does not count more."""
    rng = np.random.default_rng(3)
    views = np.repeat(["000", "090", "180"], (20, 30, 70))
    offsets = {"000": [9.0, 0, 0, 0], "090": [-9.0, 0, 0, 0], "180": [0.0, 0, 0, 0]}
    x = rng.normal(size=(len(views), 4)) + np.array([offsets[view] for view in views])
    mean, matrix = between_view_whitening(x[:, :, None], views)
    np.testing.assert_allclose(mean[0], x.mean(0))
    means = np.array([x[views == view].mean(0) for view in sorted(offsets)])
    covariance = np.cov(means.T, bias=True)
    values, vectors = np.linalg.eigh(covariance + SHRINKAGE["views"] * np.trace(covariance) / 4 * np.eye(4))
    expected = vectors @ np.diag(values**-0.5) @ vectors.T
    np.testing.assert_allclose(matrix[0] / matrix[0, 1, 1], expected / expected[1, 1], atol=1e-12)
    gains = np.linalg.norm(matrix[0], axis=1)
    assert gains[0] < 0.3 * gains[1:].min()
    with pytest.raises(UserError, match=r"several views, not only 000"):
        between_view_whitening(x[:20, :, None], views[:20])


def test_the_command_folds_whitening_into_the_weights(trained: Experiment, tmp_path: Path) -> None:
    target = tmp_path / "white.safetensors"
    assert cli.main(["whiten", str(trained.folder), str(target), "--count", "24"]) == 0
    plain, white = dygait.load_pretrained(trained.folder), dygait.load_pretrained(target)
    assert white.info.feature == "after_neck"
    assert white.info.identity != plain.info.identity
    assert white.info.training["whitened"] == {"data": trained.root.name, "sequences": 24}
    store = open_store(trained.root)
    keys = store.table.all_keys()
    test = [index for index, key in enumerate(keys) if key[0] in ("005", "006")]
    train = [index for index in range(len(keys)) if index not in test]
    sampled = [train[i] for i in np.linspace(0, len(train) - 1, 24).round().astype(int)]
    ids = np.array([keys[index][0] for index in sampled])
    mean, matrix = within_class_whitening(dygait.embed(plain, [np.asarray(store.read(i)) for i in sampled]), ids)
    frames = [np.asarray(store.read(index)) for index in test]
    expected = np.einsum("ncp,pcd->ndp", dygait.embed(plain, frames) - mean.T, matrix)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(dygait.embed(white, frames), expected, atol=1e-4)
    weights = np.linspace(0, 2, expected.shape[2])
    weighted = tmp_path / "weighted.safetensors"
    options = ["--count", "24", "--part-weights", *map(str, weights)]
    assert cli.main(["whiten", str(trained.folder), str(weighted), *options]) == 0
    actual = dygait.embed(dygait.load_pretrained(weighted), frames)
    np.testing.assert_allclose(actual, expected * weights / weights.mean(), atol=1e-4)
    config = with_weights(load_config(trained.config), target)
    assert config.evaluator_cfg.feature == "after_neck"
    experiment = trained.at(tmp_path / "run")
    save_checkpoint(
        experiment.checkpoints / "tiny-00002.pt",
        {"model": {**trained.checkpoint(2)["model"], **read_checkpoint(target)["model"]}},
    )
    tested = features_of(experiment, "evaluator_cfg.feature=after_neck", "model_cfg.norm=batch")
    np.testing.assert_allclose(tested.features, expected, atol=1e-4)


def test_whitening_by_people_without_a_partition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, or the training ids of a partition that is named."""
    root = make_tree(tmp_path / "people", ("ada", "bob", "cleo"), ("nm-01", "cl-01"), frames=(9, 12))
    partition = tmp_path / "partition.json"
    partition.write_text(json.dumps({"TRAIN_SET": ["ada", "bob"], "TEST_SET": ["cleo"]}))
    model = dygait.load_pretrained()
    for spec, initials in ((None, "abc"), (str(partition), "ab"), ("all", "abc")):
        store, indices = training_sequences(model, str(root), 100, spec)
        assert "".join(sorted({store.table.key(index)[0][0] for index in indices})) == initials
    assert cli.main(["whiten", "syngait", str(tmp_path / "w.safetensors"), "--data", str(root)]) == 0
    assert "of 3 people" in capsys.readouterr().out
    target = tmp_path / "views.safetensors"
    assert cli.main(["whiten", "syngait", str(target), "--data", str(root), "--by", "views"]) == 0
    assert "of 2 views" in capsys.readouterr().out
    assert dygait.load_pretrained(target).info.training["whitened"]["by"] == "views"


def test_errors(trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["w.pt"], "written to a file *.safetensors"),
        (["w.safetensors", "--count", "1"], "several sequences of several people"),
        (["w.safetensors", "--count", "0"], "--count 0"),
        (["w.safetensors", "--data", str(tmp_path)], str(tmp_path)),
        (["w.safetensors", "--part-weights", "1", "2"], "--part-weights"),
    ):
        assert cli.main(["whiten", str(trained.folder), str(tmp_path / arguments[0]), *arguments[1:]]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("w.*"))
    with pytest.raises(UserError, match="several sequences"):
        within_class_whitening(np.ones((3, 2, 1)), np.array(["a", "b", "c"]))
