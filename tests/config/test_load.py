"""Files, defaults and overrides give one configuration; errors and warnings where something is wrong."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from dygait.config import Config, load_config, save_config
from dygait.config.load import configs_folder, merge, merge_sections, parse_override, read_yaml
from dygait.config.schema import Protocol
from dygait.errors import UserError
from dygait.training.checks import component_problems

OPENGAIT: dict[str, Any] = read_yaml(Path(__file__).parents[1] / "assets" / "opengait_every_key.yaml")
SMALL: dict[str, Any] = {
    "data_cfg": {"dataset_name": "CASIA-B", "dataset_root": "data"},
    "model_cfg": {"model": "DyGait", "channels": [2, 3, 4], "class_num": 5},
}


def write(folder: Path, content: dict[str, Any] | str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def settings(**sections: dict[str, Any]) -> dict[str, Any]:
    return merge(SMALL, sections)  # type: ignore[no-any-return]


def load(path: Path, *overrides: str, phase: str = "train") -> Config:
    """Load a configuration as commands do: with the checks of components."""
    return load_config(path, overrides, [partial(component_problems, phase=phase)])


def error_of(path: Path, *overrides: str, phase: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        load(path, *overrides, phase=phase)
    return str(caught.value)


class TestDefaults:
    def test_a_small_file_gives_a_complete_configuration(self, tmp_path: Path) -> None:
        warnings: list[str] = []
        config = load_config(write(tmp_path, SMALL), warn=warnings.append)
        assert warnings == []
        assert config.data_cfg.num_workers == 1
        assert config.optimizer_cfg.solver == "SGD"
        assert config.optimizer_cfg.keywords == {"momentum": 0.9, "weight_decay": 5e-4}
        assert config.scheduler_cfg.keywords == {"milestones": [20000, 40000, 60000], "gamma": 0.1}
        assert config.trainer_cfg.sampler.batch_size == [8, 16]
        assert config.trainer_cfg.sampler.sample_type == "fixed_unordered"
        assert config.evaluator_cfg.sampler.sample_type == "all_ordered"
        assert config.evaluator_cfg.metric == "euc"
        assert [term.type for term in config.loss_cfg] == ["TripletLoss"]

    def test_default_yaml_has_the_defaults_of_the_schema(self) -> None:
        """So that the file documents the values that a section left out of it has."""
        default_yaml = read_yaml(configs_folder() / "default.yaml")
        schema_defaults = Config.model_validate(SMALL | {"loss_cfg": default_yaml["loss_cfg"]}).as_dict()
        for section in ("data_cfg", "trainer_cfg", "evaluator_cfg"):
            assert merge(schema_defaults[section], default_yaml[section]) == schema_defaults[section], section
        assert default_yaml["optimizer_cfg"]["solver"] == schema_defaults["optimizer_cfg"]["solver"]
        assert default_yaml["optimizer_cfg"]["lr"] == schema_defaults["optimizer_cfg"]["lr"]
        assert default_yaml["scheduler_cfg"]["scheduler"] == schema_defaults["scheduler_cfg"]["scheduler"]

    def test_it_is_found_from_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path, SMALL)
        (tmp_path / "configs").mkdir()
        write(tmp_path / "configs", {"trainer_cfg": {"total_iter": 1}}, "default.yaml")  # where OpenGait looks for it
        monkeypatch.chdir(tmp_path)
        assert load(path).trainer_cfg.total_iter == 80000

    def test_a_list_replaces_a_list(self, tmp_path: Path) -> None:
        losses = [{"type": "CrossEntropyLoss"}, {"type": "TripletLoss"}]
        config = load(write(tmp_path, SMALL | {"loss_cfg": losses}))
        assert [term.type for term in config.loss_cfg] == ["CrossEntropyLoss", "TripletLoss"]
        assert config.loss_cfg[1].keywords == {}, "without the margin of the default list"

    def test_one_loss_needs_no_list(self, tmp_path: Path) -> None:
        config = load(write(tmp_path, SMALL | {"loss_cfg": {"type": "TripletLoss", "margin": 0.3}}))
        assert [(term.type, term.keywords, term.loss_term_weight) for term in config.loss_cfg] == [
            ("TripletLoss", {"margin": 0.3}, 1.0)
        ]


@pytest.mark.parametrize(
    ("overrides", "keywords"),
    [
        (["optimizer_cfg.lr=0.05"], {"momentum": 0.9, "weight_decay": 5e-4}),
        (["optimizer_cfg={solver: SGD, lr: 0.05}"], {"momentum": 0.9, "weight_decay": 5e-4}),
        (["optimizer_cfg={solver: Adam, lr: 0.0001}"], {}),
        (["optimizer_cfg.solver=AdamW", "optimizer_cfg.lr=1e-3"], {}),
        (["scheduler_cfg={scheduler: CosineAnnealingLR, T_max: 10}"], {"T_max": 10}),
    ],
)
@pytest.mark.parametrize("source", ["in the file", "by overrides"])
def test_another_component_resets_its_section(
    tmp_path: Path, overrides: list[str], keywords: dict[str, Any], source: str
) -> None:
    """The defaults of one solver or scheduler do not leak into another."""
    content = SMALL
    if source == "in the file":
        for override in overrides:
            content = merge(content, parse_override(override))
        overrides = []
    config = load(write(tmp_path, content), *overrides)
    section = config.scheduler_cfg if "T_max" in keywords else config.optimizer_cfg
    assert section.keywords == keywords


def test_merging_changes_neither_argument() -> None:
    base = {"optimizer_cfg": {"solver": "SGD", "momentum": 0.9}}
    assert merge_sections(base, {"optimizer_cfg": {"solver": "Adam"}}) == {"optimizer_cfg": {"solver": "Adam"}}
    assert base == {"optimizer_cfg": {"solver": "SGD", "momentum": 0.9}}


def test_another_model_resets_its_section() -> None:
    base = {"model_cfg": {"model": "DeepGaitV2", "Backbone": {"mode": "p3d"}, "use_emb2": True}}
    other = {"model": "SkeletonGaitPP", "Backbone": {"C": 2}}
    assert merge_sections(base, {"model_cfg": other}) == {"model_cfg": other}
    same = merge_sections(base, {"model_cfg": {"Backbone": {"in_channels": 2}}})
    assert same == {"model_cfg": {**base["model_cfg"], "Backbone": {"mode": "p3d", "in_channels": 2}}}


class TestPathsOfData:
    """Paths that do not exist in the working directory are searched in the folder of the file and those above it."""

    @staticmethod
    def make(folder: Path, root: Any = "./datasets/A", partition: Any = "./datasets/A.json", **more: Any) -> Path:
        (folder / "configs" / "model").mkdir(parents=True, exist_ok=True)
        (folder / "datasets" / "A").mkdir(parents=True, exist_ok=True)
        (folder / "datasets" / "A.json").touch()
        data_cfg = {"dataset_name": "A", "dataset_root": root, "dataset_partition": partition}
        return write(folder / "configs" / "model", {**SMALL, **more, "data_cfg": data_cfg})

    @pytest.mark.parametrize(
        ("root", "partition", "overrides", "expected"),
        [
            ("./datasets/A", "./datasets/A.json", [], lambda at: (at, f"{at}.json")),
            ("./datasets/A", None, ["data_cfg.dataset_root=other"], lambda at: ("other", None)),
            (["datasets/A", "no"], ["datasets/A.json", "B"], [], lambda at: ([at, "no"], [f"{at}.json", "B"])),
            (
                ["syngait://?seed=1", "syngait://?seed=2"],
                None,
                [],
                lambda _: (["syngait://?seed=1", "syngait://?seed=2"],) * 2,
            ),
            # A file is no root, and a folder no partition.
            ("datasets/A.json", "datasets/A", [], lambda at: ("datasets/A.json", "datasets/A")),
        ],
    )
    def test_found_two_folders_above(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Any, partition: Any, overrides: Any, expected: Any
    ) -> None:
        path = self.make(tmp_path / "theirs", root, partition)
        (tmp_path / "ours").mkdir()
        monkeypatch.chdir(tmp_path / "ours")
        warnings: list[str] = []
        data = load_config(os.path.relpath(path), overrides, warn=warnings.append).data_cfg
        resolved = str(tmp_path / "theirs" / "datasets" / "A")
        assert (data.dataset_root, data.dataset_partition) == expected(resolved)
        assert len(warnings) == str(expected(resolved)).count(resolved)
        assert all(" is not in the working directory; using " in line for line in warnings)

    def test_the_working_directory_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.make(tmp_path / "theirs")
        self.make(tmp_path / "ours")
        monkeypatch.chdir(tmp_path / "ours")
        warnings: list[str] = []
        data = load_config(path, warn=warnings.append).data_cfg
        assert (data.dataset_root, data.dataset_partition, warnings) == ("./datasets/A", "./datasets/A.json", [])


def test_a_list_of_folders_needs_a_list_of_partitions(tmp_path: Path) -> None:
    data = {"dataset_name": "A", "dataset_root": ["datasets/A", "syngait://wild"]}
    with pytest.raises(UserError, match=r"must both be lists, or both be single$"):
        load_config(write(tmp_path, SMALL | {"data_cfg": data}))


class TestBase:
    def test_inheritance_relative_to_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        write(tmp_path, SMALL | {"trainer_cfg": {"total_iter": 10, "save_iter": 5, "log_iter": 1}}, "grand.yaml")
        write(
            tmp_path / "a", {"base": "../grand.yaml", "trainer_cfg": {"total_iter": 20, "save_iter": 6}}, "parent.yaml"
        )
        path = write(tmp_path / "a" / "b", {"base": "../parent.yaml", "trainer_cfg": {"total_iter": 30}})
        monkeypatch.chdir(tmp_path / "a")
        trainer = load(path).trainer_cfg
        assert (trainer.total_iter, trainer.save_iter, trainer.log_iter) == (30, 6, 1)

    @pytest.mark.parametrize(
        "through", [["mine.yaml"], ["one.yaml", "mine.yaml"], ["one.yaml", "two.yaml", "one.yaml"]]
    )
    def test_circles(self, tmp_path: Path, through: list[str]) -> None:
        for name, base in zip(["mine.yaml", *through[:-1]], through, strict=True):
            path = write(tmp_path, SMALL | {"base": base}, name)
        assert error_of(tmp_path / "mine.yaml").endswith("its `base` is circular"), path

    def test_a_base_that_is_not_there(self, tmp_path: Path) -> None:
        assert f"no such configuration file: {tmp_path}/no.yaml" in error_of(
            write(tmp_path, SMALL | {"base": "no.yaml"})
        )
        assert "base must be the path of another YAML file" in error_of(write(tmp_path, SMALL | {"base": ["x"]}))


class TestOverrides:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a.b=1", {"a": {"b": 1}}),
            ("a.b.c=x", {"a": {"b": {"c": "x"}}}),
            ("a.b=[1, 2]", {"a": {"b": [1, 2]}}),
            ("a.b=1e-4", {"a": {"b": 1e-4}}),
            ("a.b=x=y", {"a": {"b": "x=y"}}),
            ("a.b=true", {"a": {"b": True}}),
            ("a.b=null", {"a": {"b": None}}),
            ("a.b=", {"a": {"b": None}}),
            ("a.b='1'", {"a": {"b": "1"}}),
            (" a.b =2", {"a": {"b": 2}}),
            ("a={c: 3}", {"a": {"c": 3}}),
        ],
    )
    def test_reading(self, text: str, expected: dict[str, Any]) -> None:
        assert parse_override(text) == expected

    @pytest.mark.parametrize("text", ["a.b", "=1", "a..b=1", ".a=1", "a.=1", "a.b=[1", "a.b={x: 1, x: 2}"])
    def test_mistakes(self, text: str) -> None:
        with pytest.raises(UserError, match=r"^--set "):
            parse_override(text)

    def test_the_last_wins(self, tmp_path: Path) -> None:
        path = write(tmp_path, settings(trainer_cfg={"total_iter": 5}))
        assert load(path, "trainer_cfg.total_iter=6", "trainer_cfg.total_iter=7").trainer_cfg.total_iter == 7

    def test_a_problem_names_the_override(self, tmp_path: Path) -> None:
        path = write(tmp_path, settings(trainer_cfg={"total_iter": 5}))
        assert error_of(path, "trainer_cfg.total_iter=many") == (
            "--set trainer_cfg.total_iter=many: input should be a valid integer, got 'many'"
        )


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 1e-4),
            ("5E-4", 5e-4),
            ("1.0e-4", 1e-4),
            ("2.e+1", 20.0),
            ("-1e-2", -0.01),
            ("+3e2", 300.0),
            (".1", 0.1),
        ],
    )
    def test_numbers_with_exponents(self, tmp_path: Path, text: str, value: float) -> None:
        number = read_yaml(write(tmp_path, f"a: {text}"))["a"]
        assert isinstance(number, float)
        assert number == value

    @pytest.mark.parametrize("text", ["1e", "e5", "1e-4x", "nm-01e3", "0001e"])
    def test_text_that_resembles_a_number_stays_text(self, tmp_path: Path, text: str) -> None:
        assert read_yaml(write(tmp_path, f"a: {text}"))["a"] == text

    def test_a_key_written_twice(self, tmp_path: Path) -> None:
        path = write(tmp_path, "trainer_cfg:\n  total_iter: 5\n  seed: 1\n  total_iter: 6\n")
        message = error_of(path)
        assert message.startswith(f"{path} is not valid YAML: the key 'total_iter' is duplicate")
        assert "line 4" in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("a: [1", "is not valid YAML"),
            ("- a\n- b", "mapping"),
            ("", "mapping"),
        ],
    )
    def test_files_that_are_no_configuration(self, tmp_path: Path, content: str, message: str) -> None:
        path = write(tmp_path, content)
        assert message in error_of(path)
        assert error_of(path).startswith(str(path))

    def test_no_such_file(self, tmp_path: Path) -> None:
        assert error_of(tmp_path / "no.yaml") == f"no such configuration file: {tmp_path}/no.yaml"
        assert error_of(tmp_path / "default.yaml").endswith(f"; did you mean {configs_folder() / 'default.yaml'}?")
        assert "cannot be read" in error_of(tmp_path)

    def test_anchors(self, tmp_path: Path) -> None:
        text = yaml.safe_dump(SMALL) + (
            "trainer_cfg:\n  transform: &input\n    - type: BaseSilCuttingTransform\n      cutting: 3\n"
            "evaluator_cfg:\n  transform: *input\n"
        )
        config = load(write(tmp_path, text))
        assert config.evaluator_cfg.transform == config.trainer_cfg.transform


class TestProblems:
    @pytest.mark.parametrize(
        ("override", "path", "message"),
        [
            ("trainer_cfg.total_itr=5", "trainer_cfg.total_itr", "did you mean 'total_iter'?"),
            ("trainer_cfg.sampler.batch_sise=[1, 2]", "trainer_cfg.sampler.batch_sise", "did you mean 'batch_size'?"),
            ("data_cfg.xyzzy=1", "data_cfg.xyzzy", "valid keys: cache, data_in_use, dataset_name"),
            ("optimiser_cfg={}", "optimiser_cfg", "did you mean 'optimizer_cfg'?"),
            ("trainer_cfg.total_iter='5'", "trainer_cfg.total_iter", "a valid integer, got '5'"),
            ("trainer_cfg.total_iter=0", "trainer_cfg.total_iter", "greater than or equal to 1, got 0"),
            ("trainer_cfg=quick", "trainer_cfg", "got 'quick'"),
            ("trainer_cfg.sampler={batch_size: [8]}", "trainer_cfg.sampler", "batch_size must be"),
            ("trainer_cfg.sampler={batch_size: [8, 0]}", "trainer_cfg.sampler", "batch_size must be"),
            ("trainer_cfg.sampler={frames_num_min: 60}", "trainer_cfg.sampler", "frames_num_min is larger than"),
            ("trainer_cfg.sampler.sample_type=some", "trainer_cfg.sampler.sample_type", "'fixed_ordered'"),
            ("evaluator_cfg.sampler={frames_all_limit: 0}", "evaluator_cfg.sampler", "frames_all_limit must be"),
            ("evaluator_cfg.metric=manhattan", "evaluator_cfg.metric", "'euc' or 'cos', got 'manhattan'"),
            ("trainer_cfg.save_name=''", "trainer_cfg.save_name", "name of one folder"),
            ("data_cfg={data_in_use: [false]}", "data_cfg", "data_in_use: set at least one entry to true"),
            ("optimizer_cfg.lr=0", "optimizer_cfg.lr", "greater than 0"),
            ("loss_cfg=[]", "loss_cfg", "at least 1 item"),
            ("loss_cfg={type: BinaryCrossEntropyLoss}", "loss_cfg.0.type", "masks"),
            ("model_cfg.chanels=[1]", "model_cfg.chanels", "did you mean 'channels'?"),
            ("model_cfg.bin_num=[3]", "model_cfg.bin_num", "features 32 rows high"),
            ("model_cfg.model=Digait", "model_cfg.model", "did you mean 'DyGait'?"),
            ("loss_cfg=[{type: TripletLoss}, {margn: 1, type: TripletLoss}]", "loss_cfg.1.margn", "'margin'"),
            ("loss_cfg=[{margin: 1}]", "loss_cfg.0.type", "this key is required"),
            ("optimizer_cfg.solver=Adm", "optimizer_cfg.solver", "did you mean 'Adam'?"),
            ("optimizer_cfg.momentm=0.9", "optimizer_cfg.momentm", "did you mean 'momentum'?"),
            ("optimizer_cfg={momentum: 0.9, solver: Adagrad}", "optimizer_cfg.momentum", "unknown key"),
            ("optimizer_cfg={betas: [2.0, 0.9], solver: Adam}", "optimizer_cfg.solver", "Invalid beta"),
            ("optimizer_cfg.solver=Muon", "optimizer_cfg.solver", "did you mean 'MuonAdamW'?"),
            ("optimizer_cfg={momentum: 1, solver: MuonAdamW}", "optimizer_cfg.solver", "below 1, not 1"),
            ("optimizer_cfg.solver=LBFGS", "optimizer_cfg.solver", "unknown optimiser 'LBFGS'"),
            ("scheduler_cfg.scheduler=MultistepLR", "scheduler_cfg.scheduler", "did you mean 'MultiStepLR'?"),
            ("scheduler_cfg.scheduler=CosineAnnealingLR", "scheduler_cfg.scheduler", "CosineAnnealingLR"),
            ("scheduler_cfg.scheduler=ReduceLROnPlateau", "scheduler_cfg.scheduler", "unknown scheduler"),
            ("trainer_cfg.transform={type: Resize}", "trainer_cfg.transform.size", "this key is required"),
            ("trainer_cfg.transform=[{type: NoOperation}, {type: Rezise}]", "trainer_cfg.transform.1.type", "'Resize'"),
            (
                "trainer_cfg.sampler={batch_size: [4, 4], type: CommonSampler}",
                "trainer_cfg.sampler.batch_size",
                "takes a number",
            ),
            (
                "trainer_cfg.sampler={batch_size: 8, type: BilateralSampler}",
                "trainer_cfg.sampler.batch_size",
                "takes [P, K]",
            ),
            ("trainer_cfg.sampler.type=InferenceSampler", "trainer_cfg.sampler.type", "use TripletSampler"),
            ("evaluator_cfg.sampler.type=TripletSampler", "evaluator_cfg.sampler.type", "use InferenceSampler"),
        ],
    )
    def test_one(self, tmp_path: Path, override: str, path: str, message: str) -> None:
        file = write(tmp_path, settings(**parse_override(override)))
        error = error_of(file)
        assert error.startswith(f"{file}: {path}: " if path else f"{file}: trainer_cfg.transform: "), error
        assert message in error
        assert "\n" not in error, "one problem, one line"

    @pytest.mark.parametrize("path", ["model_cfg", "data_cfg.dataset_root"])
    def test_a_missing_key(self, tmp_path: Path, path: str) -> None:
        content = merge(SMALL, {})
        section, _, key = path.partition(".")
        if key:
            content[section] = {k: v for k, v in content[section].items() if k != key}
        else:
            del content[section]
        file = write(tmp_path, content)
        assert f"{file}: {path}: this key is required" in error_of(file)

    def test_all_problems_are_reported_with_their_files(self, tmp_path: Path) -> None:
        parent = write(tmp_path, settings(trainer_cfg={"total_itr": 5}, model_cfg={"chanels": [1]}), "parent.yaml")
        child = write(
            tmp_path, {"base": "parent.yaml", "optimizer_cfg": {"lr": "fast"}, "loss_cfg": [{"type": "Tripletloss"}]}
        )
        lines = error_of(child, "evaluator_cfg.metric=far").splitlines()
        assert lines[0] == f"{len(lines) - 1} problems in the configuration:"
        expected = {
            f"  {parent}: trainer_cfg.total_itr: unknown key; did you mean 'total_iter'?",
            f"  {parent}: model_cfg.chanels: unknown key; did you mean 'channels'?",
            f"  {child}: optimizer_cfg.lr: input should be a valid number, got 'fast'",
            f"  {child}: loss_cfg.0.type: unknown loss 'Tripletloss'; did you mean 'TripletLoss'? (valid: ",
            "  --set evaluator_cfg.metric=far: input should be 'euc' or 'cos', got 'far'",
        }
        for prefix in expected:
            assert any(line.startswith(prefix) for line in lines), (prefix, lines)

    def test_another_protocol_replaces_that_of_the_base(self, tmp_path: Path) -> None:
        day = {"name": "Day", "gallery": {"types": "day1"}, "groups": {"day 2": {"probes": {"types": "day2"}}}}
        parent = write(tmp_path, settings(evaluator_cfg={"protocol": day}), "parent.yaml")
        assert load(parent, "evaluator_cfg.protocol.exclusion=identical view").evaluator_cfg.protocol == Protocol(
            **day, exclusion="identical view"
        )
        night = {"name": "Night", "gallery": {}, "groups": {"all": {"probes": {}}}}
        child = write(tmp_path, {"base": "parent.yaml", "evaluator_cfg": {"protocol": night}})
        assert load(child).evaluator_cfg.protocol == Protocol(**night)

    def test_a_protocol_matters_only_to_a_test(self, tmp_path: Path) -> None:
        path = write(tmp_path, settings(data_cfg={"dataset_name": "Mine"}))
        assert load(path).data_cfg.dataset_name == "Mine"
        assert "the dataset 'Mine' has no protocol of its own" in error_of(path, phase="test")
        assert "the dataset 'Mine' has no protocol of its own" in error_of(path, "trainer_cfg.with_test=true")
        assert load(path, "data_cfg.test_dataset_name=CASIA-B", phase="test").data_cfg.test_dataset_name == "CASIA-B"


class TestWithoutEffect:
    def test_a_warning_and_no_error(self, tmp_path: Path) -> None:
        path = write(
            tmp_path, settings(trainer_cfg={"enable_distributed": True}, evaluator_cfg={"enable_distributed": True})
        )
        warnings: list[str] = []
        config = load_config(path, ["trainer_cfg.enable_distributed=false"], warn=warnings.append)
        reason = "enable_distributed has no effect here: the launcher decides"
        assert warnings == [
            f"--set trainer_cfg.enable_distributed=false: trainer_cfg.{reason}",
            f"{path}: evaluator_cfg.{reason}",
        ]
        assert "enable_distributed" not in config.as_dict()["trainer_cfg"]

    def test_a_keyword_that_its_component_does_not_use(self, tmp_path: Path) -> None:
        chain = [{"type": "RandomAffine", "prob": 0.2, "degree": 10}, {"type": "RandomRotate", "degree": 10}]
        path = write(tmp_path, settings(trainer_cfg={"transform": {"type": "Compose", "trf_cfg": chain}}))
        warnings: list[str] = []
        load_config(path, warn=warnings.append)
        (line,) = warnings
        assert line.startswith(f"{path}: trainer_cfg.transform.trf_cfg.0.degree has no effect: nothing reads it")

    def test_other_spellings_of_opengaits_files(self, tmp_path: Path) -> None:
        transform = [{"type": "Compose", "trf_cfg": [{"type": "BaseSilCuttingTransform", "divsor": 1, "img_w": 64}]}]
        sampler = {"batch_shuffle": False}
        path = write(
            tmp_path,
            settings(
                optimizer_cfg={"solver": "Adam", "lr": 1e-4, "momentum": 0.9},
                trainer_cfg={"transform": transform},
                evaluator_cfg={"sampler": sampler, "rerank": False},
            ),
        )
        warnings: list[str] = []
        config = load_config(path, warn=warnings.append).as_dict()
        key = "trainer_cfg.transform.0.trf_cfg.0"
        assert sorted(warnings) == [
            f"{path}: evaluator_cfg.rerank is read as `re_rank`",
            f"{path}: evaluator_cfg.sampler.batch_shuffle has no effect here: every sequence is tested once, and the "
            f"order changes no result",
            f"{path}: optimizer_cfg.momentum has no effect with Adam: it is SGD's",
            f"{path}: {key}.divsor is read as `divisor`",
            f"{path}: {key}.img_w has no effect with BaseSilCuttingTransform: the cut goes by the width that the "
            f"frames have; `cutting` sets it",
        ]
        assert config["trainer_cfg"]["transform"][0]["trf_cfg"] == [{"type": "BaseSilCuttingTransform", "divisor": 1}]
        assert config["optimizer_cfg"] == {"solver": "Adam", "lr": 1e-4, "param_groups": []}
        assert config["evaluator_cfg"]["re_rank"] is False

    def test_one_keyword_spelt_twice_is_refused(self, tmp_path: Path) -> None:
        transform = {"type": "BaseSilTransform", "divsor": 1, "divisor": 2}
        error = error_of(write(tmp_path, settings(trainer_cfg={"transform": transform})))
        assert "trainer_cfg.transform.divsor: unknown key; did you mean 'divisor'?" in error


@pytest.mark.parametrize("phase", ["train", "test"])
def test_every_key_of_opengait_is_accepted(tmp_path: Path, phase: str) -> None:
    config = load(write(tmp_path, OPENGAIT), phase=phase).as_dict()
    for section, content in OPENGAIT.items():
        if section == "loss_cfg":
            assert all(written.items() <= term.items() for written, term in zip(content, config[section], strict=True))
            continue
        supported = {k: v for k, v in content.items() if k != "enable_distributed"}
        assert merge(config[section], supported) == config[section], f"{section}: every value is the one in the file"


@pytest.mark.parametrize("content", [SMALL, OPENGAIT], ids=["small", "opengait"])
def test_the_resolved_configuration_is_reloaded_unchanged(tmp_path: Path, content: dict[str, Any]) -> None:
    config = load(write(tmp_path, content), "optimizer_cfg.lr=1e-5")
    save_config(config, tmp_path / "resolved.yaml")
    reloaded = load(tmp_path / "resolved.yaml")
    assert reloaded == config
    assert reloaded.as_dict() == config.as_dict()
