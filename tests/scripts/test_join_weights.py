"""An ensemble of weights: its features, its members, whitening, fine-tuning, export."""

import json
from pathlib import Path

import numpy as np
import pytest

import dygait
from conftest import make_tree
from dygait import cli
from dygait.data.stores import open_store
from dygait.deployment.whitening import weigh_parts, write_whitened
from dygait.runs import published
from helpers.experiments import Experiment
from helpers.faulting import LONG
from helpers.scripts import load_script

SCRIPT = load_script("join_weights")
DATA = ["syngait://?seed=1", "syngait://?seed=2"]


@pytest.fixture(scope="module")
def joined(trained: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of a run and the same in half its resolution, `large` and `little`, as an ensemble."""
    folder = tmp_path_factory.mktemp("joined")
    for name, input_size, data in (("little", [16, 11], DATA), ("large", [32, 22], DATA[1:])):
        model = dygait.load_pretrained(trained.folder)
        config = json.loads(json.dumps(model.info.training["config"]))
        config["model_cfg"]["input_size"] = input_size
        config["evaluator_cfg"] |= {"feature": "after_neck", "transform": [{"type": "BaseSilCuttingTransform"}]}
        config["evaluator_cfg"]["transform"].append({"type": "Resize", "size": input_size})
        weights = {n: w for n, w in model.network.state_dict().items() if not n.endswith("necks.fc_bin")}
        published.write(folder / f"{name}.safetensors", weights, {"config": config, "data": data,
                                                                  "input_size": input_size})  # fmt: skip
    target = folder / "joined.safetensors"
    sources = [f"{name}={folder / name}.safetensors" for name in ("little", "large")]
    assert SCRIPT.main([*sources, str(target)]) == 0
    return target


def walks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.random((length, 64, 64)) > 0.5).astype(np.uint8) * np.uint8(255) for length in (9, 4)]


def test_members_and_their_features(joined: Path) -> None:
    model = dygait.load_pretrained(joined)
    assert model.info.training["data"] == DATA
    features = dygait.embed(model, walks())
    assert features.shape == (2, 8, 8)
    for name, section in (("little", slice(0, 4)), ("large", slice(4, 8))):
        member, alone = (dygait.load_pretrained(path) for path in (joined / name, joined.with_stem(name)))
        assert member.info.transform == alone.info.transform or name == "little"  # which is resized twice
        np.testing.assert_allclose(features[..., section], dygait.embed(member, walks()), atol=0.02)
        np.testing.assert_allclose(features[..., section], dygait.embed(alone, walks()), atol=0.02)
    with pytest.raises(
        dygait.UserError, match=r"no member 'litle'; did you mean 'little'\?; its members: little, large"
    ):
        dygait.load_pretrained(joined / "litle")
    with pytest.raises(dygait.UserError, match=r"no member 'x'; its members: none"):
        dygait.load_pretrained(joined.with_stem("large") / "x")


def test_whitening(joined: Path, tmp_path: Path) -> None:
    """The same as whitening each member, if both see the same pixels."""
    store = open_store(str(make_tree(tmp_path / "people", ("ada", "bob"), ("nm-01", "nm-02"), frames=(9, 12))))
    indices = list(range(len(store.table)))
    model = dygait.load_pretrained(joined)
    write_whitened(model, store, indices, tmp_path / "white.safetensors", [*range(1, 9)])
    write_whitened(
        dygait.load_pretrained(joined / "large"), store, indices, tmp_path / "large.safetensors", [5, 6, 7, 8]
    )
    white, large = (
        dygait.embed(dygait.load_pretrained(tmp_path / f"{n}.safetensors"), walks()) for n in ("white", "large")
    )
    np.testing.assert_allclose(white[..., 4:], large, atol=1e-4)
    lengths = np.arange(1, 9) / np.repeat([2.5, 6.5], 4)  # in proportion to the mean of each member
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), np.broadcast_to(lengths, (2, 8)), rtol=1e-4)
    with pytest.raises(dygait.UserError, match="--part-weights: give 8 numbers"):
        weigh_parts(model, [1, 2, 3, 4])


def test_a_training_starts_from_the_member_of_its_size(
    joined: Path, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.train(f"trainer_cfg.init_from={joined}", "trainer_cfg.total_iter=1", "trainer_cfg.save_iter=1")
    assert f"starting from the weights of {joined}/large: " in capsys.readouterr().out


@pytest.mark.skipif(not LONG, reason="half a minute: set DYGAIT_FAULTS=long")
def test_export(joined: Path, tmp_path: Path) -> None:
    target = tmp_path / "joined.pt2"
    assert cli.main(["export", str(joined), str(target), "--to", "exported"]) == 0
    expected = dygait.embed(dygait.load_pretrained(joined), walks())
    np.testing.assert_allclose(dygait.embed(dygait.load_exported(target), walks()), expected, atol=1e-4)


def test_errors(joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, large = str(tmp_path / "x.safetensors"), joined.with_stem("large")
    state = published.read(large)
    config = state["config"]
    config["evaluator_cfg"]["sampler"]["frames_window"] = 12
    published.write(tmp_path / "other.safetensors", state["model"], {"config": config, "data": DATA})
    for arguments, message in (
        ([f"a={large}", "x.pt"], "written to a file *.safetensors"),
        ([str(large), target], "NAME=WEIGHTS"),
        ([f"a={large}", f"a={large}", target], "another name"),
        ([f"a={large}", f"b={tmp_path / 'other.safetensors'}", target], "differ in frames_window: a: None, b: 12"),
    ):
        assert SCRIPT.main(arguments) == 2
        assert message in capsys.readouterr().err
