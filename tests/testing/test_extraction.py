"""Extraction: features do not depend on batches, padding, processes or interruptions, and never mix two checkpoints."""

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
MOST = "evaluator_cfg.sampler.batch_size"
SMALL = f"{BUDGET}=30"
"""Two or three sequences in a batch: seven batches of the sixteen sequences."""


@pytest.fixture(scope="module")
def alone(trained: Experiment) -> SavedFeatures:
    return features_of(trained, f"{BUDGET}=1")


@pytest.fixture(autouse=True)
def _a_shard_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_SHARD_BYTES", 1)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What is logged; a run stops the lines from going further."""
    monkeypatch.setattr(logging.getLogger("dygait"), "propagate", True)
    caplog.set_level(logging.INFO, "dygait")
    return caplog


def close(one: SavedFeatures, other: SavedFeatures) -> bool:
    assert one.gei is not None
    assert other.gei is not None
    assert (one.ids, one.types, one.views, one.lengths) == (other.ids, other.types, other.views, other.lengths)
    np.testing.assert_allclose(one.features, other.features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.gei, other.gei, rtol=0, atol=1e-6)
    return True


def equal(one: SavedFeatures, other: SavedFeatures) -> bool:
    return close(one, other) and np.array_equal(one.features, other.features) and np.array_equal(one.gei, other.gei)  # type: ignore[arg-type]


def embedded(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[int]:
    """Return a list that takes the number of sequences of every batch from now on; it ends the run after some."""
    seen: list[int] = []
    embed = extraction.embed

    def watched(model: Any, batch: Any, *more: Any) -> Any:
        if len(seen) == stop_after:
            raise KeyboardInterrupt
        seen.append(len(batch.sequences))
        return embed(model, batch, *more)

    monkeypatch.setattr(extraction, "embed", watched)
    return seen


def interrupted(trained: Experiment, folder: Path, *overrides: str, after: int = 3) -> None:
    with pytest.MonkeyPatch.context() as patch:
        embedded(patch, after)
        with pytest.raises(KeyboardInterrupt):
            features_of(trained, SMALL, *overrides, folder=folder)
    assert len(list((folder / "unfinished").glob("*.npz"))) == after
    with pytest.raises(UserError, match="the extraction was interrupted"):
        load_features(folder)


def weighted(patch: pytest.MonkeyPatch, factor: float) -> None:
    """Let every network be one whose features are so many times as large."""
    load = torch.nn.Module.load_state_dict

    def changed(model: torch.nn.Module, state: dict[str, Any], *rest: Any, **named: Any) -> Any:
        return load(model, {**state, "fcs.fc_bin": factor * state["fcs.fc_bin"]}, *rest, **named)

    patch.setattr(torch.nn.Module, "load_state_dict", changed)


@pytest.mark.parametrize(("sets", "count"), [([SMALL], 7), ([f"{BUDGET}=1000", f"{MOST}=5"], 4)])
def test_batches_and_padding_do_not_matter(
    trained: Experiment, alone: SavedFeatures, sets: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = embedded(monkeypatch)
    assert close(features_of(trained, *sets), alone)
    assert len(set(alone.lengths)) > 1
    assert (len(seen), sum(seen)) == (count, 16)


def test_the_largest_shard_is_bounded_and_all_are_put_together(
    trained: Experiment, alone: SavedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[int]] = []
    write = extraction.Shards.write

    def watched(self: Any, batches: Any, rows: Any) -> str:
        written.append(list(batches))
        return write(self, batches, rows)

    monkeypatch.setattr(extraction.Shards, "write", watched)
    monkeypatch.setattr(extraction, "_SHARD_BYTES", 4 * (alone.features[0].nbytes + 32 * 22 * 4))
    assert close(features_of(trained, SMALL), alone)
    assert written == [[0, 1], [2, 3], [4, 5], [6]]


def _in_group(experiment: Experiment, folder: str) -> SavedFeatures:
    extraction._SHARD_BYTES = 1
    found = features_of(experiment, SMALL, folder=Path(folder) / "features")
    assert not list(Path(folder).glob("features/unfinished"))
    one_batch = features_of(experiment, "evaluator_cfg.sampler.batch_size=16", folder=Path(folder) / "one batch")
    assert close(one_batch, found)  # two of three processes have had nothing to do
    distributed.barrier()
    return found


def test_three_processes_resume_and_give_what_one_does(
    trained: Experiment, alone: SavedFeatures, tmp_path: Path
) -> None:
    """Two batches of the seven are there."""
    one = features_of(trained, SMALL)
    interrupted(trained, tmp_path / "features", after=2)
    for found in in_processes(_in_group, 3, tmp_path, trained, str(tmp_path)):
        assert equal(found, one)
        assert close(found, alone)


def test_an_interrupted_extraction_resumes_and_a_complete_one_is_reused(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    interrupted(trained, tmp_path / "f")
    done = sum(len(np.load(p)["indices"]) for p in (tmp_path / "f" / "unfinished").glob("*.npz"))
    seen = embedded(monkeypatch)
    assert equal(features_of(trained, SMALL, folder=tmp_path / "f"), features_of(trained, SMALL))
    assert sum(seen[:4]) == 16 - done
    assert f"continuing an interrupted extraction: {done} of 16" in logged.text
    seen.clear()
    features_of(trained, SMALL, "evaluator_cfg.metric=cos", folder=tmp_path / "f")
    assert not seen
    assert "reusing the features" in logged.text
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["features.npy", "gei.npy", "sequences.json"]


@pytest.mark.parametrize(
    "change",
    ["weights", "half", "data", f"{BUDGET}=40", "evaluator_cfg.enable_float16=true", "evaluator_cfg.baseline=null",
     "evaluator_cfg.sampler.frames_all_limit=9", "evaluator_cfg.transform.divisor=200.0", "trainer_cfg.seed=1"],
)  # fmt: skip
def test_nothing_of_another_extraction_is_used(
    tmp_path: Path, trained: Experiment, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "f"
    if change in ("weights", "data"):
        interrupted(trained, target)
    else:
        features_of(trained, SMALL, folder=target)
    seen = embedded(monkeypatch)
    sets, more = [SMALL], {}
    with pytest.MonkeyPatch.context() as patch:
        if change == "weights":
            weighted(patch, 1.0001)
        elif change == "half":
            more["half"] = True
        elif change == "data":
            touched = trained.root / "006" / "nm-01" / "000" / "000.pkl"
            os.utime(touched)
        else:
            sets.append(change)
        features_of(trained, *sets, folder=target, **more)
    assert sum(seen) == 16


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
    seen = embedded(monkeypatch)
    assert equal(features_of(trained, SMALL, folder=tmp_path / "f"), features_of(trained, SMALL))
    assert len(seen) == 6 + 7
    assert "000001.npz is damaged" in logged.text
    assert "extracted again" in logged.text


def test_a_folder_of_another_process_and_one_that_rank_0_does_not_see(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / "f" / "unfinished"
    unfinished.mkdir(parents=True)
    with extraction.lock(unfinished, extraction.LOCK), pytest.raises(UserError, match="another process"):
        features_of(trained, folder=tmp_path / "f")
    collect = extraction.distributed.all_gather_object

    def elsewhere(value: Any) -> list[Any]:
        return [*collect(value), replace(value, shards=["000099"])]

    monkeypatch.setattr(extraction.distributed, "all_gather_object", elsewhere)
    with pytest.raises(UserError, match="does not see 1 of 8 shards"):
        features_of(trained, SMALL, folder=tmp_path / "f")


def test_long_sequences_are_cut_to_their_middle(trained: Experiment, logged: pytest.LogCaptureFixture) -> None:
    whole, cut = features_of(trained), features_of(trained, "evaluator_cfg.sampler.frames_all_limit=9")
    lengths = np.array(whole.lengths)
    assert cut.lengths == np.minimum(lengths, 9).tolist()
    expected = {"sequences": int((lengths > 9).sum()), "frames": int(np.maximum(lengths - 9, 0).sum())}
    assert cut.origin["frames_cut"] == expected
    expected_text = f"shortens {expected['sequences']} of 16 sequences: {expected['frames']} of {lengths.sum()}"
    assert expected_text in logged.text


@pytest.mark.parametrize("kind", ["fixed_ordered", "unfixed_unordered"])
def test_other_modes_of_frames(trained: Experiment, kind: str) -> None:
    sets = [f"evaluator_cfg.sampler.sample_type={kind}", "evaluator_cfg.sampler.frames_num_fixed=7",
            "evaluator_cfg.sampler.frames_num_min=4", "evaluator_cfg.sampler.frames_num_max=9"]  # fmt: skip
    one, other = features_of(trained, *sets, f"{BUDGET}=1"), features_of(trained, *sets, SMALL)
    assert close(one, other)
    assert set(one.lengths) == {7} if kind == "fixed_ordered" else 4 <= min(one.lengths) < max(one.lengths) <= 9
