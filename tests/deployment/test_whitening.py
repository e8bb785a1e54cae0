"""Whitening: against covariances summed pair by pair, and folded weights against features whitened afterwards."""

from pathlib import Path

import numpy as np
import pytest

import dygait
from dygait import cli
from dygait.config import load_config
from dygait.data.stores import open_store
from dygait.deployment import with_weights
from dygait.deployment.whitening import SHRINKAGE, within_class_whitening
from dygait.errors import UserError
from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from helpers.experiments import Experiment, features_of


@pytest.fixture(scope="module")
def trained(shared: Experiment) -> Experiment:
    shared.train("trainer_cfg.total_iter=2", "model_cfg.norm=batch")
    return shared


def test_the_covariance_within_people_becomes_a_multiple_of_the_identity() -> None:
    rng = np.random.default_rng(0)
    ids = np.repeat(list("abcde"), [40, 30, 50, 2, 60])
    x = (
        rng.normal(size=(len(ids), 4, 2)) * np.array([5, 1, 0.5, 2])[:, None]
        + rng.normal(size=(5, 4, 2))[np.unique(ids, return_inverse=True)[1]]
    )
    mean, matrix = within_class_whitening(x, ids)
    for part in range(2):
        one = x[:, :, part]
        covariance = np.zeros((4, 4))
        for row, name in zip(one, ids, strict=True):
            apart = row - one[ids == name].mean(0)
            covariance += np.outer(apart, apart) / len(one)
        shrunk = covariance + SHRINKAGE * np.trace(covariance) / 4 * np.eye(4)
        white = matrix[part].T @ shrunk @ matrix[part]
        np.testing.assert_allclose(white, white[0, 0] * np.eye(4), atol=1e-9 * white[0, 0])
        np.testing.assert_allclose(matrix[part], matrix[part].T, atol=1e-12)
        np.testing.assert_allclose(mean[part], one.mean(0))
        centred = one - mean[part]
        np.testing.assert_allclose(((centred @ matrix[part]) ** 2).sum(), (centred**2).sum())


def test_what_varies_within_people_hides_them_less() -> None:
    rng = np.random.default_rng(1)
    people = np.concatenate([np.zeros((20, 2)), rng.normal(size=(20, 6))], 1)
    noise = np.array([5.0, 5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])

    def walks(names: range) -> tuple[np.ndarray, np.ndarray]:
        ids = np.repeat(list(names), 20)
        return ids, people[ids] + noise * rng.normal(size=(len(ids), 8))

    def found(ids: np.ndarray, x: np.ndarray) -> float:
        distances = ((x[:, None] - x[None]) ** 2).sum(-1) + 1e9 * np.eye(len(x))
        return float((ids[distances.argmin(1)] == ids).mean())

    ids, x = walks(range(10))
    mean, matrix = within_class_whitening(x[:, :, None], ids)
    others, y = walks(range(10, 20))
    assert found(others, (y - mean[0]) @ matrix[0]) > 0.6 > 0.45 > found(others, y)


def test_the_command_folds_it_into_the_weights(trained: Experiment, tmp_path: Path) -> None:
    target = tmp_path / "white.safetensors"
    assert cli.main(["whiten", str(trained.folder), str(target), "--count", "24"]) == 0
    plain, white = dygait.load_pretrained(trained.folder), dygait.load_pretrained(target)
    assert white.info.feature == "after_neck"
    assert white.info.identity != plain.info.identity
    assert white.info.training["whitened"] == {"data": trained.root.name, "sequences": 24}
    store = open_store(trained.root)
    everything = store.table.all_keys()
    test = [index for index, key in enumerate(everything) if key[0] in ("005", "006")]
    train = [index for index in range(len(everything)) if index not in test]
    chosen = [train[i] for i in np.linspace(0, len(train) - 1, 24).round().astype(int)]
    ids = np.array([everything[index][0] for index in chosen])
    mean, matrix = within_class_whitening(dygait.embed(plain, [np.asarray(store.read(i)) for i in chosen]), ids)
    frames = [np.asarray(store.read(index)) for index in test]
    wanted = np.einsum("ncp,pcd->ndp", dygait.embed(plain, frames) - mean.T, matrix)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(dygait.embed(white, frames), wanted, atol=1e-4)
    weights = np.linspace(0, 2, wanted.shape[2])
    weighted = tmp_path / "weighted.safetensors"
    given = [str(weight) for weight in weights]
    assert cli.main(["whiten", str(trained.folder), str(weighted), "--count", "24", "--part-weights", *given]) == 0
    found = dygait.embed(dygait.load_pretrained(weighted), frames)
    np.testing.assert_allclose(found, wanted * weights / weights.mean(), atol=1e-4)
    config = with_weights(load_config(trained.config), target)
    assert config.evaluator_cfg.feature == "after_neck"
    as_run = trained.at(tmp_path / "run")
    save_checkpoint(
        as_run.checkpoints / "tiny-00002.pt",
        {"model": {**trained.checkpoint(2)["model"], **read_checkpoint(target)["model"]}},
    )
    tested = features_of(as_run, "evaluator_cfg.feature=after_neck", "model_cfg.norm=batch")
    np.testing.assert_allclose(tested.features, wanted, atol=1e-4)


def test_what_cannot_be_whitened(trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["w.pt"], "written to a file *.safetensors"),
        (["w.safetensors", "--count", "1"], "several sequences of several people"),
        (["w.safetensors", "--data", str(tmp_path)], str(tmp_path)),
        (["w.safetensors", "--part-weights", "1", "2"], "--part-weights"),
    ):
        assert cli.main(["whiten", str(trained.folder), str(tmp_path / arguments[0]), *arguments[1:]]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("w.*"))
    with pytest.raises(UserError, match="several sequences"):
        within_class_whitening(np.ones((3, 2, 1)), np.array(["a", "b", "c"]))
