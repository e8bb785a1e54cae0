"""Cross-dataset tests: each run on each dataset, at the frame size and the frame rate of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from dygait.config import Config
from dygait.config.schema import EvaluatorCfg
from dygait.data.dataset import files_in_use
from dygait.data.transforms import build_transform
from dygait.deployment.pretrained import find_weights, with_weights
from dygait.errors import UserError
from dygait.evaluation import Submission, configured_protocols
from dygait.reporting.cross import CrossTest
from dygait.runs import sources
from dygait.runs.checkpoint_files import read_checkpoint
from dygait.testing.scoring import run_test
from dygait.untrusted import at

_HEIGHTS = (64, 128)  # of normalised frames


def config_of(source: str) -> Config:
    """Return the configuration of a run or of weights; UserError if they have none."""
    path = find_weights(source)
    try:
        return Config.model_validate(read_checkpoint(path, mapped=True).get("config"))
    except ValidationError:
        raise UserError(f"{path} does not say which dataset it was trained on; name one with --on") from None


def run_cross(
    runs: Sequence[str],
    datasets: Sequence[Config],
    device: torch.device,
    output: str | Path = "output",
    rates: Mapping[str, float] | None = None,
) -> list[CrossTest]:
    """Test every run on every dataset; the features of each pair stay in its folder in `output`, and are reused.

    Args:
        runs: names of shipped weights, checkpoints, or folders of runs.
        datasets: configurations, of which data, protocol and batches are used.
        rates: dataset -> frames per second.

    Returns:
        The tests, on rank 0; none elsewhere.

    Raises:
        UserError: a pair cannot be tested.
    """
    names, rates = _unique([Path(run).resolve().stem for run in runs]), rates or {}
    tested = _unique([c.data_cfg.test_dataset_name or c.data_cfg.dataset_name for c in datasets])
    folders = _unique([c.data_cfg.dataset_name for c in datasets])
    tests = []
    for run, run_name in zip(runs, names, strict=True):
        state = read_checkpoint(find_weights(run), mapped=True)
        trained = _trained_on(state, datasets, tested)
        for dataset, target, folder in zip(datasets, tested, folders, strict=True):
            pair_name = run_name if folder == dataset.data_cfg.dataset_name else f"{run_name}-on-{folder}"
            config, geometry = _fit_frame_size(with_run(dataset, run, pair_name), state.get("input_size"))
            config, rate = _fit_frame_rate(config, rates.get(target), state.get("frame_rate") or rates.get(trained))
            result = run_test(config, device, output)
            if result is not None:
                roots = config.data_cfg.dataset_root
                root = roots if isinstance(roots, str) else ", ".join(roots)
                tests.append(CrossTest(run_name, trained, target, root, f"{geometry}; {rate}", result))
    return tests


def _trained_on(state: Mapping[str, Any], datasets: Sequence[Config], tested: Sequence[str]) -> str:
    """Return the name of the dataset that weights were trained on, as in `tested` if it is one of those.

    Of several datasets with its name, it is the one with the root of the training.
    """
    train = at(state, "config", "data_cfg") or {}
    for dataset, name in zip(datasets, tested, strict=True):
        cfg = dataset.as_dict()["data_cfg"]
        if cfg["test_dataset_name"] is None and all(train.get(k) == cfg[k] for k in ("dataset_name", "dataset_root")):
            return name
    name = str(train.get("dataset_name"))
    return f"another {name}" if f"{name}-2" in tested else name


def with_run(dataset: Config, run: str, name: str) -> Config:
    """Return a dataset's configuration with the network, transform, distance and feature of a run, called `name`."""
    settings = at(read_checkpoint(find_weights(run), mapped=True), "config", "evaluator_cfg") or {}
    compared = {key: settings[key] for key in ("metric", "feature") if key in settings}
    config = with_weights(_changed(dataset, **compared, report=False, baseline=None), run)
    if isinstance(protocol := configured_protocols(config), Submission):
        raise UserError(f"{protocol.name} gives no numbers to compare; set evaluator_cfg.eval_func to another protocol")
    return _changed(config, save_name=name)


def _changed(config: Config, **keys: Any) -> Config:
    evaluator = EvaluatorCfg.model_validate({**config.evaluator_cfg.model_dump(), **keys})
    return config.model_copy(update={"evaluator_cfg": evaluator})


def _fit_frame_size(config: Config, input_size: Sequence[int] | None) -> tuple[Config, str]:
    """Return a configuration that resizes frames to the input of the network, if the sizes differ, and a description.

    `input_size` is (H, W) of the network's input; None if the weights do not say: the transform's output for 64x64.
    """
    transform, data = config.as_dict()["evaluator_cfg"]["transform"], sources.open_data(config)
    chain = transform if isinstance(transform, list) else [transform]
    indices, (file, *extra) = data.store.table.indices(data.partition.test), files_in_use(config.data_cfg.data_in_use)
    if not len(indices) or extra:
        return config, "frames as they are"  # the test raises the error
    ((height, width), index), *_ = data.store.geometries(indices, file).items()
    frame = np.asarray(data.store.read(index, file)[:1])
    size = tuple(input_size or config.model_cfg.input_size or ()) or _size_after([_resize(64, 64), *chain], frame)
    description = f"frames of {height}x{width}, input {_text_of(size)}"
    if _size_after(chain, frame) == size:
        return config, description
    for rows in (*_HEIGHTS, size[0]):
        resize = _resize(rows, round(rows * width / height))
        if _size_after([resize, *chain], frame) == size:
            description = f"frames of {height}x{width} resized to {_text_of(resize['size'])}, input {_text_of(size)}"
            return _changed(config, transform=[resize, *chain]), description
    raise UserError(
        f"{config.data_cfg.dataset_root}: frames of {height}x{width} cannot be brought to the {_text_of(size)} that "
        f"{config.evaluator_cfg.save_name} takes; prepare the dataset at another height"
    )


def _resize(height: int, width: int) -> dict[str, Any]:
    return {"type": "Resize", "size": [height, width]}


def _text_of(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _size_after(chain: list[Any], frame: np.ndarray) -> tuple[int, ...]:
    """Return (H, W) of a frame after transforms; empty if they do not accept it."""
    try:
        return build_transform(chain)(frame, np.random.default_rng(0)).shape[-2:]
    except UserError:
        return ()


def _fit_frame_rate(config: Config, rate: float | None, trained: float | None) -> tuple[Config, str]:
    """Return a configuration that uses every nth frame of a dataset with n times the frame rate, and a description."""
    if rate is None or trained is None:
        return config, "every frame, at a rate that is not known to be the same"
    n, sampler = max(1, round(rate / trained)), config.evaluator_cfg.sampler.model_dump()
    rates = f"{rate:g} frames a second, trained on {trained:g}"
    if n == 1:
        return config, rates
    sampler["frames_step"] *= n
    return _changed(config, sampler=sampler), f"one frame in {n} of {rates}"


def _unique(names: Sequence[str]) -> list[str]:
    """Make names unique: the second occurrence of a name ends in -2."""
    counts = [names[:n].count(name) for n, name in enumerate(names, 1)]
    return [name if count == 1 else f"{name}-{count}" for name, count in zip(names, counts, strict=True)]
