"""Pretrained weights by name and by path give the features that a test of their run gives."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dygait
from dygait.config import load_config
from dygait.data.stores import read_pickle
from dygait.deployment import PretrainedModel, with_weights
from dygait.errors import UserError
from dygait.modeling import build_model
from dygait.runs import published
from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from helpers.experiments import Experiment, features_of
from helpers.networks import SIX, SMALL, network, silhouettes

EMA = ("trainer_cfg.ema=0.9", "model_cfg.norm=batch")


@pytest.fixture(scope="module")
def trained(shared: Experiment) -> Experiment:
    """A run of two iterations of a network with BatchNorm, which averages its weights."""
    shared.train("trainer_cfg.total_iter=2", *EMA)
    return shared


@pytest.fixture
def averaged(trained: Experiment) -> Experiment:
    """A run whose weights are the averaged ones of `trained`."""
    state = read_checkpoint(trained.checkpoints / "tiny-00002.pt")
    experiment = trained.at(trained.output.parent / "averaged")
    save_checkpoint(experiment.checkpoints / "tiny-00002.pt", {**state, "model": state["ema"]})
    return experiment


@pytest.fixture
def shipped(trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The averaged weights of the run as the only pretrained weights, called `tiny`."""
    monkeypatch.setattr(published, "FOLDER", tmp_path / "pretrained")
    state = trained.checkpoint(2)
    weights = {n: w for n, w in state["ema"].items() if n != "necks.fc_bin"}
    record = {"name": "tiny", "config": state["config"], "seed": 0, "frame_rate": 25.0, "input_size": [32, 22]}
    published.write(published.path_of("tiny"), weights, record)
    return published.path_of("tiny")


def sequences_of(experiment: Experiment) -> list[np.ndarray]:
    """Return the sequences of the test set, in the order of an extraction."""
    paths = sorted(p for name in ("005", "006") for p in (experiment.root / name).rglob("*.pkl"))
    return [np.asarray(read_pickle(path)) for path in paths]


def test_features_are_those_of_the_runs_test(trained: Experiment, averaged: Experiment, shipped: Path) -> None:
    model = dygait.load_pretrained("tiny")
    assert isinstance(model, PretrainedModel)
    assert not model.training
    sequences = sequences_of(trained)
    assert len({len(frames) for frames in sequences}) > 1
    actual = dygait.embed(model, sequences)
    assert actual.dtype == np.float32
    expected = features_of(averaged, *EMA).features
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("frames", [{"frames_step": 2}, {"frames_window": 4}, {"frames_step": 2, "frames_window": 3}])
def test_steps_and_windows_are_those_of_the_runs_test(
    trained: Experiment, averaged: Experiment, frames: dict[str, int]
) -> None:
    model = dygait.load_pretrained(trained.folder)
    all_frames = dygait.embed(model, sequences_of(trained))
    model.info = dataclasses.replace(model.info, **frames)  # as from a configuration with these keys
    actual = dygait.embed(model, sequences_of(trained))
    assert not np.allclose(actual, all_frames, atol=1e-4)
    step, size = frames.get("frames_step", 1), frames.get("frames_window", 1000)
    default = dygait.load_pretrained(trained.folder)
    for features, sequence in zip(actual, sequences_of(trained), strict=True):
        sampled = sequence[::step]
        count = -(-len(sampled) // size)
        starts = [round(i * max(len(sampled) - size, 0) / max(count - 1, 1)) for i in range(count)]
        windows = [dygait.embed(default, [sampled[start : start + size]])[0] for start in starts]
        mean, norm = np.mean(windows, 0), np.mean([np.linalg.norm(window, axis=0) for window in windows], 0)
        np.testing.assert_allclose(features, mean * norm / np.linalg.norm(mean, axis=0), atol=1e-5)
    sets = [f"evaluator_cfg.sampler.{key}={value}" for key, value in frames.items()]
    np.testing.assert_allclose(features_of(averaged, *EMA, *sets).features, actual, atol=1e-5 * np.abs(actual).max())


def test_frames_of_several_channels(tmp_path: Path) -> None:
    config = {"model_cfg": SMALL["SkeletonGait"], "evaluator_cfg": {"transform": {"type": "BaseSilTransform"}}}
    trained = network("SkeletonGait")
    save_checkpoint(tmp_path / "maps.pt", {"model": trained.state_dict(), "config": config})
    model, maps = dygait.load_pretrained(tmp_path / "maps.pt"), [silhouettes(1, n, n, "SkeletonGait") for n in (3, 7)]
    actual = dygait.embed(model, [(sequence[0] * 255).byte().numpy() for sequence in maps])
    with torch.no_grad():
        expected = torch.cat([trained(sequence).inference for sequence in maps]).numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    with pytest.raises(UserError, match="frames of 2 channels, got 1"):
        dygait.embed(model, [np.zeros((3, 16, 12), np.uint8)])


def test_a_run_a_checkpoint_and_a_name_are_the_same_weights(trained: Experiment, shipped: Path) -> None:
    models = [
        dygait.load_pretrained(source)
        for source in ("tiny", shipped, trained.folder, trained.checkpoints / "tiny-00002.pt")
    ]
    assert len({model.info.identity for model in models}) == 1
    features = [dygait.embed(model, sequences_of(trained)[:2]) for model in models]
    assert all(np.array_equal(other, features[0]) for other in features)


def test_info_describes_the_weights(shipped: Path) -> None:
    info = dygait.load_pretrained("tiny").info
    assert (info.name, info.frame_rate, info.input_size) == ("tiny", 25.0, [32, 22])
    assert info.model_cfg["channels"] == [4, 8, 8]
    assert info.transform["type"] == "BaseSilTransform"
    assert info.training["config"]["data_cfg"]["dataset_name"] == "CASIA-B"
    assert info.training["sha256"] == published.read(shipped)["sha256"]
    json.dumps(dataclasses.asdict(info))


def test_identity_depends_on_weights_network_and_transform(shipped: Path, tmp_path: Path) -> None:
    state = published.read(shipped)
    weights, config = state.pop("model"), state["config"]
    changes = [
        ({}, state),
        ({"fcs.fc_bin": weights["fcs.fc_bin"] + 1e-6}, state),
        ({}, {"config": {**config, "evaluator_cfg": {"transform": {"type": "BaseSilTransform", "divisor": 1.0}}}}),
        ({}, {"config": {**config, "model_cfg": {**config["model_cfg"], "dynamic": False}}}),
    ]
    identities = set()
    for number, (changed, record) in enumerate(changes):
        path = tmp_path / f"{number}.safetensors"
        published.write(path, {**weights, **changed}, record)
        identities.add(dygait.load_pretrained(path).info.identity)
    assert len(identities) == len(changes)


@pytest.mark.parametrize("name", SIX)
def test_every_network_loads_without_its_class_head(name: str, tmp_path: Path) -> None:
    settings = SMALL[SIX[name]]
    network = build_model(settings).eval()
    config = {"model_cfg": settings, "evaluator_cfg": {"transform": {"type": "BaseSilTransform"}}}
    weights = {n: w for n, w in network.state_dict().items() if n not in getattr(network, "class_head", ())}
    published.write(tmp_path / "weights.safetensors", weights, {"config": config})
    before = torch.random.get_rng_state()
    model = dygait.load_pretrained(tmp_path / "weights.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)
    frames = (np.random.default_rng(0).random((5, 16, 12)) > 0.5).astype(np.uint8) * np.uint8(255)
    with torch.no_grad():
        output = network(torch.from_numpy(frames)[None] / 255)
        assert model(torch.from_numpy(frames)[None] / 255).logits is None
    np.testing.assert_allclose(dygait.embed(model, [frames])[0], output.inference[0].numpy(), rtol=1e-5, atol=1e-6)


def test_features_do_not_depend_on_the_batch(trained: Experiment, shipped: Path) -> None:
    model, sequences = dygait.load_pretrained("tiny"), sequences_of(trained)
    sequences[3] = sequences[3][:1]
    batched = dygait.embed(model, sequences)
    single = np.concatenate([dygait.embed(model, [frames]) for frames in sequences])
    np.testing.assert_allclose(batched, single, atol=1e-5 * np.abs(single).max())


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one sequence"),
        ([np.zeros((2, 32, 22), np.uint8), np.zeros((32, 22), np.uint8)], r"sequences\[1\] is uint8 \(32, 22\)"),
        ([np.zeros((2, 32, 22))], r"sequences\[0\] is float64"),
        ([np.zeros((0, 32, 22), np.uint8)], r"sequences\[0\] is uint8 \(0, 32, 22\)"),
        ([[1, 2]], r"sequences\[0\] is list"),
        ([np.zeros((2, 64, 44), np.uint8)], r"sequences\[0\]: .*64x44.*32x22"),
    ],
)
def test_embed_refuses_other_inputs(shipped: Path, sequences: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dygait.embed(dygait.load_pretrained("tiny"), sequences)


def test_a_bare_network_cannot_embed() -> None:
    with pytest.raises(UserError, match=r"embed takes a model of dygait\.load_pretrained"):
        dygait.embed(build_model(SMALL["DyGait"]), [np.zeros((2, 16, 12), np.uint8)])


class TestLoadErrors:
    def test_an_unknown_name(self, shipped: Path) -> None:
        with pytest.raises(UserError, match=r"did you mean 'tiny'\?; those that ship are tiny"):
            dygait.load_pretrained("tinny")

    def test_a_folder_that_is_not_a_run(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is no folder of a run"):
            dygait.load_pretrained(tmp_path)

    def test_weights_without_a_configuration(self, tmp_path: Path) -> None:
        torch.save({"model": build_model(SMALL["DyGait"]).state_dict()}, tmp_path / "bare.pt")
        with pytest.raises(UserError, match=r"bare.pt does not say which network"):
            dygait.load_pretrained(tmp_path / "bare.pt")

    @pytest.mark.parametrize(
        ("model_cfg", "message"),
        [({"model": "Nobody"}, "unknown model"), ({"channels": [1]}, "channels"), ({"channels": [4, 4, 8]}, "match")],
    )
    def test_a_configuration_that_does_not_fit(self, shipped: Path, model_cfg: dict, message: str) -> None:
        state = published.read(shipped)
        config = {**state["config"], "model_cfg": {**state["config"]["model_cfg"], **model_cfg}}
        published.write(shipped, state["model"], {"config": config})
        with pytest.raises(UserError, match=message):
            dygait.load_pretrained("tiny")


class TestNamesInARun:
    """Names of pretrained weights where a configuration or a command takes a checkpoint."""

    def test_fine_tuning_skips_the_class_head(
        self, experiment: Experiment, shipped: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = ("trainer_cfg.init_from=tiny", "trainer_cfg.freeze=['[!n]*']", "trainer_cfg.total_iter=1")
        experiment.train(*settings, "model_cfg.norm=batch", "model_cfg.SeparateBNNecks.class_num=9")
        printed = capsys.readouterr().out
        assert "starting from the weights of tiny" in printed
        assert "keeps its initial values (necks.fc_bin)" in printed
        weights = published.read(shipped)["model"]
        frozen = [n for n in weights if not n.startswith("necks")]
        state = experiment.checkpoint(1)["model"]
        assert all(torch.equal(state[n], weights[n]) for n in frozen)

    def test_testing_with_restore_hint(self, experiment: Experiment, shipped: Path) -> None:
        assert experiment.run("test", "evaluator_cfg.restore_hint=tiny", "model_cfg.norm=batch") == 0
        assert list(experiment.checkpoints.glob("*.json"))

    def test_testing_with_weights_uses_their_network_and_transform(
        self, experiment: Experiment, trained: Experiment, shipped: Path
    ) -> None:
        other = ("model_cfg.channels=[2,2,2]", "model_cfg.SeparateBNNecks.in_channels=2", "evaluator_cfg.save_name=x")
        for source, iteration in (("tiny", 0), (str(trained.folder), 2)):
            assert experiment.run("test", *other, options=["--weights", source]) == 0
            (result,) = experiment.checkpoints.glob(f"tiny-{iteration:05d}*-euc.json")
            percentages = json.loads(result.read_text())["percentages"]
            assert set(percentages) == {"NM", "BG", "CL"}

    def test_the_weights_set_the_frames_unless_the_user_does(self, experiment: Experiment, shipped: Path) -> None:
        key = "evaluator_cfg.sampler.frames_window"
        config = load_config(experiment.config, [f"{key}=4"])
        assert with_weights(config, "tiny").evaluator_cfg.sampler.frames_window is None
        assert with_weights(config, "tiny", {key}).evaluator_cfg.sampler.frames_window == 4

    def test_load_weights(self, shipped: Path) -> None:
        state = published.read(shipped)
        report = dygait.load_weights(build_model({**state["config"]["model_cfg"], "input_size": None}), "tiny")
        assert report.complete
        assert report.reset == ["necks.fc_bin"]

    @pytest.mark.parametrize(
        ("phase", "override", "options", "message"),
        [
            ("train", "trainer_cfg.restore_hint=tiny", [], "tiny holds weights alone"),
            ("train", "trainer_cfg.init_from=tinny", [], "those that ship are tiny"),
            ("train", "trainer_cfg.seed=1", ["--weights", "tiny"], "--weights names the weights of a test"),
            ("test", "evaluator_cfg.restore_hint=tinny", [], "those that ship are tiny"),
            ("test", "trainer_cfg.seed=1", ["--weights", "tinny"], "those that ship are tiny"),
            ("test", "trainer_cfg.seed=1", ["--weights", "tiny", "--iter", "2"], "without --iter"),
        ],
    )
    def test_errors_of_a_run(
        self, experiment: Experiment, shipped: Path, phase: str, override: str, options: list[str], message: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        assert experiment.run(phase, override, options=options) == 2
        assert message in capsys.readouterr().err
