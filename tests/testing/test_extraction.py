"""Extraction: features do not depend on batches, padding, processes or interruptions; no stale ones are reused."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dygait import distributed
from dygait.errors import UserError
from dygait.evaluation.features import SavedFeatures, load_features
from dygait.testing import extraction
from helpers.experiments import Experiment, features_of
from helpers.processes import in_processes

BUDGET = "evaluator_cfg.sampler.frames_budget"
BATCH_SIZE = "evaluator_cfg.sampler.batch_size"
SMALL = f"{BUDGET}=30"
"""Seven batches of two or three sequences, of sixteen sequences in all."""


@pytest.fixture(scope="module")
def unbatched(trained: Experiment) -> SavedFeatures:
    return features_of(trained, f"{BUDGET}=1")


@pytest.fixture(autouse=True)
def _one_shard_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_SHARD_BYTES", 1)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """The log; `propagate` is set because a run turns it off."""
    monkeypatch.setattr(logging.getLogger("dygait"), "propagate", True)
    caplog.set_level(logging.INFO, "dygait")
    return caplog


def close(a: SavedFeatures, b: SavedFeatures) -> bool:
    assert a.gei is not None
    assert b.gei is not None
    assert (a.ids, a.types, a.views, a.lengths) == (b.ids, b.types, b.views, b.lengths)
    np.testing.assert_allclose(a.features, b.features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(a.gei, b.gei, rtol=0, atol=1e-6)
    return True


def equal(a: SavedFeatures, b: SavedFeatures) -> bool:
    return close(a, b) and np.array_equal(a.features, b.features) and np.array_equal(a.gei, b.gei)  # type: ignore[arg-type]


def record_batches(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[int]:
    """Return a list to which every batch appends its number of sequences; interrupt the run after `stop_after`."""
    sizes: list[int] = []
    embed = extraction.embed

    def recording(model: Any, batch: Any, *more: Any) -> Any:
        if len(sizes) == stop_after:
            raise KeyboardInterrupt
        sizes.append(len(batch.sequences))
        return embed(model, batch, *more)

    monkeypatch.setattr(extraction, "embed", recording)
    return sizes


def interrupt(trained: Experiment, folder: Path, *overrides: str, after: int = 3) -> None:
    with pytest.MonkeyPatch.context() as patch:
        record_batches(patch, after)
        with pytest.raises(KeyboardInterrupt):
            features_of(trained, SMALL, *overrides, folder=folder)
    assert len(list((folder / "unfinished").glob("*.npz"))) == after
    with pytest.raises(UserError, match="the extraction was interrupted"):
        load_features(folder)


def scale_features(patch: pytest.MonkeyPatch, factor: float) -> None:
    """Scale the features of every network that is loaded."""
    load = torch.nn.Module.load_state_dict

    def scaled(model: torch.nn.Module, state: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        return load(model, {**state, "fcs.fc_bin": factor * state["fcs.fc_bin"]}, *arguments, **keywords)

    patch.setattr(torch.nn.Module, "load_state_dict", scaled)


@pytest.mark.parametrize(("sets", "count"), [([SMALL], 7), ([f"{BUDGET}=1000", f"{BATCH_SIZE}=5"], 4)])
def test_features_do_not_depend_on_batches_and_padding(
    trained: Experiment, unbatched: SavedFeatures, sets: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = record_batches(monkeypatch)
    assert close(features_of(trained, *sets), unbatched)
    assert len(set(unbatched.lengths)) > 1
    assert (len(sizes), sum(sizes)) == (count, 16)


def test_shards_have_a_maximum_size(
    trained: Experiment, unbatched: SavedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[int]] = []
    write = extraction.Shards.write

    def recording(self: Any, batches: Any, rows: Any) -> str:
        written.append(list(batches))
        return write(self, batches, rows)

    monkeypatch.setattr(extraction.Shards, "write", recording)
    monkeypatch.setattr(extraction, "_SHARD_BYTES", 4 * (unbatched.features[0].nbytes + 32 * 22 * 4))
    assert close(features_of(trained, SMALL), unbatched)
    assert written == [[0, 1], [2, 3], [4, 5], [6]]


def extract_in_group(experiment: Experiment, folder: str) -> SavedFeatures:
    extraction._SHARD_BYTES = 1
    features = features_of(experiment, SMALL, folder=Path(folder) / "features")
    assert not list(Path(folder).glob("features/unfinished"))
    one_batch = features_of(experiment, "evaluator_cfg.sampler.batch_size=16", folder=Path(folder) / "one batch")
    assert close(one_batch, features)  # two of the three processes have no batch
    distributed.barrier()
    return features


def test_three_processes_resume_and_equal_one(trained: Experiment, unbatched: SavedFeatures, tmp_path: Path) -> None:
    """Two of the seven batches are finished."""
    expected = features_of(trained, SMALL)
    interrupt(trained, tmp_path / "features", after=2)
    for features in in_processes(extract_in_group, 3, tmp_path, trained, str(tmp_path)):
        assert equal(features, expected)
        assert close(features, unbatched)


def test_an_interrupted_extraction_resumes_and_a_complete_one_is_reused(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    interrupt(trained, tmp_path / "f")
    finished = sum(len(np.load(p)["indices"]) for p in (tmp_path / "f" / "unfinished").glob("*.npz"))
    sizes = record_batches(monkeypatch)
    assert equal(features_of(trained, SMALL, folder=tmp_path / "f"), features_of(trained, SMALL))
    assert sum(sizes[:4]) == 16 - finished
    assert f"continuing an interrupted extraction: {finished} of 16" in logged.text
    sizes.clear()
    features_of(trained, SMALL, "evaluator_cfg.metric=cos", folder=tmp_path / "f")
    assert not sizes
    assert "reusing the features" in logged.text
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["features.npy", "gei.npy", "sequences.json"]


@pytest.mark.parametrize(
    "change",
    ["weights", "half", "data", f"{BUDGET}=40", "evaluator_cfg.enable_float16=true", "evaluator_cfg.baseline=null",
     "evaluator_cfg.sampler.frames_all_limit=9", "evaluator_cfg.transform.divisor=200.0", "trainer_cfg.seed=1"],
)  # fmt: skip
def test_shards_of_another_extraction_are_not_used(
    tmp_path: Path, trained: Experiment, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "f"
    if change in ("weights", "data"):
        interrupt(trained, target)
    else:
        features_of(trained, SMALL, folder=target)
    sizes = record_batches(monkeypatch)
    sets, more = [SMALL], {}
    with pytest.MonkeyPatch.context() as patch:
        if change == "weights":
            scale_features(patch, 1.0001)
        elif change == "half":
            more["half"] = True
        elif change == "data":
            touched = trained.root / "006" / "nm-01" / "000" / "000.pkl"
            os.utime(touched)
        else:
            sets.append(change)
        features_of(trained, *sets, folder=target, **more)
    assert sum(sizes) == 16


def test_a_full_disk_and_a_damaged_shard(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the third shard
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UserError, match=r"No space left on device.*finished shards are kept"):
            features_of(trained, SMALL, folder=tmp_path / "f")
    damaged = tmp_path / "f" / "unfinished" / "000001.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    sizes = record_batches(monkeypatch)
    assert equal(features_of(trained, SMALL, folder=tmp_path / "f"), features_of(trained, SMALL))
    assert len(sizes) == 6 + 7
    assert "000001.npz is damaged" in logged.text
    assert "extracted again" in logged.text


def test_a_locked_folder_and_one_that_rank_0_does_not_see(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / "f" / "unfinished"
    unfinished.mkdir(parents=True)
    with extraction.lock(unfinished, extraction.LOCK), pytest.raises(UserError, match="another process"):
        features_of(trained, folder=tmp_path / "f")
    all_gather_object = extraction.distributed.all_gather_object

    def with_another_rank(value: Any) -> list[Any]:
        return [*all_gather_object(value), replace(value, shards=["000099"])]

    monkeypatch.setattr(extraction.distributed, "all_gather_object", with_another_rank)
    with pytest.raises(UserError, match="does not see 1 of 8 shards"):
        features_of(trained, SMALL, folder=tmp_path / "f")


def test_long_sequences_are_shortened(trained: Experiment, logged: pytest.LogCaptureFixture) -> None:
    full, shortened = features_of(trained), features_of(trained, "evaluator_cfg.sampler.frames_all_limit=9")
    lengths = np.array(full.lengths)
    assert shortened.lengths == np.minimum(lengths, 9).tolist()
    expected = {"sequences": int((lengths > 9).sum()), "frames": int(np.maximum(lengths - 9, 0).sum())}
    assert shortened.origin["frames_cut"] == expected
    expected_text = f"shortens {expected['sequences']} of 16 sequences: {expected['frames']} of {lengths.sum()}"
    assert expected_text in logged.text


@pytest.mark.parametrize("kind", ["fixed_ordered", "unfixed_unordered"])
def test_other_sample_types(trained: Experiment, kind: str) -> None:
    sets = [f"evaluator_cfg.sampler.sample_type={kind}", "evaluator_cfg.sampler.frames_num_fixed=7",
            "evaluator_cfg.sampler.frames_num_min=4", "evaluator_cfg.sampler.frames_num_max=9"]  # fmt: skip
    first, second = features_of(trained, *sets, f"{BUDGET}=1"), features_of(trained, *sets, SMALL)
    assert close(first, second)
    assert set(first.lengths) == {7} if kind == "fixed_ordered" else 4 <= min(first.lengths) < max(first.lengths) <= 9
