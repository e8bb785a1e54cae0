"""Extraction: from sequences to a folder of features, each process its share of the batches.

A process holds one batch and the features of a few; it writes them to shards as it goes, and rank 0 puts the shards
together. Features that are there already, of an extraction that was interrupted or that is complete, are used again if
they come from the same weights, data and settings, and only then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import dygait
from dygait import distributed
from dygait.config import Config
from dygait.config.schema import HalfPrecision
from dygait.data import Batch, InferenceSampler, batches, working
from dygait.data.stores.locks import lock
from dygait.errors import Interrupted, LocalError, UserError
from dygait.evaluation.features import (
    UNFINISHED,
    Rows,
    SavedFeatures,
    assemble,
    check_folder,
    clear,
    load_features,
    replace_origin,
    write_error,
)
from dygait.evaluation.shards import LOCK, Shards
from dygait.machine import peak_memory
from dygait.runs import sources
from dygait.runs.memory import is_out_of_memory
from dygait.runs.monitor import duration, log, progress_bar
from dygait.runs.precision import half_precision
from dygait.runs.signals import Interruption, name_of

_SHARD_BYTES = 2**25
_SHARD_SECONDS = 30.0
"""A process writes a shard when it has so many bytes of features, or after so long: what an interruption costs."""


@dataclass(frozen=True)
class Settings:
    """How sequences are embedded, and what is kept of them.

    Attributes:
        float16: compute in half precision, or `auto`.
        half: store float16.
        gei: average each sequence's silhouettes on the way (Han and Bhanu, *Individual Recognition Using Gait Energy
            Image*, TPAMI 2006).
    """

    float16: HalfPrecision = False
    half: bool = False
    gei: bool = False


@torch.inference_mode()
def embed(model: nn.Module, batch: Batch, divisors: Sequence[float], device: torch.device, settings: Settings) -> Rows:
    """Embed the sequences of a batch.

    Args:
        model: the network, in evaluation mode.
        batch: the sequences.
        divisors: what brings the grey levels of each modality to 0..1.
        device: where to compute.
        settings: how.

    Raises:
        UserError: the features are too large for the type that is stored.
        LocalError: the device's memory does not hold the batch.
    """
    moved = batch.to(device)
    inputs = moved.scaled(divisors)
    try:
        with half_precision(device, settings.float16):
            features = model(inputs, batch.lengths).inference
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise LocalError(
            f"the memory of {device} does not hold a batch of {len(batch.sequences)} sequences, padded to "
            f"{batch.silhouettes.shape[1]} frames; lower evaluator_cfg.sampler.frames_budget, or cut long sequences "
            f"with frames_all_limit ({next(iter(str(error).splitlines()), 'no memory')})"
        ) from None
    frames = batch.silhouettes.shape[1]
    lengths = torch.full((len(batch.sequences),), frames) if batch.lengths is None else batch.lengths
    gei = None
    if settings.gei:
        silhouettes = inputs if isinstance(inputs, torch.Tensor) else inputs[0]
        gei = (silhouettes.sum(1) / lengths.to(device)[:, None, None]).cpu().numpy()  # padding is zero
    rows = Rows(batch.sequences.numpy(), lengths.numpy(), features.float().cpu().numpy(), gei)
    return rows.stored(settings.half)


def extract(
    config: Config,
    data: sources.Data,
    source: sources.Source,
    model: nn.Module,
    device: torch.device,
    folder: str | Path,
    origin: Mapping[str, Any],
    half: bool = False,
    interruption: Interruption | None = None,
) -> SavedFeatures | None:
    """Embed every sequence of the test set, and keep the features in a folder; what is there already is used again.

    Args:
        config: the experiment.
        data: what `source` comes from.
        source: the sequences, as `sources.test_source` gives them.
        model: the network.
        device: where to compute.
        folder: where to, on a disk that every process sees.
        origin: what to keep with the features.
        half: store float16.
        interruption: what listens for signals already; without it, they are listened for here.

    Returns:
        The features, on rank 0; None elsewhere. No process returns before they are there.

    Raises:
        UserError: the folder holds something else or cannot be written, or somebody else is writing it.
        Interrupted: a signal came to one of the processes before its share was made; what is made is kept. Every
            process raises it.
    """
    settings = Settings(config.evaluator_cfg.enable_float16, half, config.evaluator_cfg.baseline == "gei")
    folder, sampler = Path(folder), source.loader.batch_sampler
    assert isinstance(sampler, InferenceSampler)
    model.eval()
    work = _Work(folder, source, sampler, {**origin, "frames_cut": _frames_cut(source)})
    if distributed.is_main():
        work.key = identity(config, data, source, model, device, settings)
    try:
        plan = _on_main(work.prepare)
        if plan.complete:
            return work.saved
        sampler.done = frozenset(plan.done)
        start = time.perf_counter()
        work.key = plan.key
        with Interruption() if interruption is None else contextlib.nullcontext(interruption) as asked:
            with asked.during("this batch"), working(source.loader):
                told = work.make(model, device, settings, asked)
            everyone = distributed.collect(told)
            if any(one.stopped for one in everyone):
                made = sum(len(sampler.batches[number]) for number in plan.done) + sum(o.sequences for o in everyone)
                how_far = f"{made} of {len(source.dataset)} sequences are embedded"
                if interruption is None:
                    how_far = f"{name_of(asked.signal)}: {how_far} and kept; the same command goes on with them"
                raise Interrupted(how_far)
        seconds = time.perf_counter() - start
        _on_main(lambda: work.finish([name for one in everyone for name in one.shards]))
    finally:
        sampler.done = frozenset()
        work.close()
    _report(sampler, everyone, seconds, device)
    return work.saved


class _Plan(NamedTuple):
    """What rank 0 found: whether everything is there, or else the batches that are."""

    key: str
    complete: bool
    done: list[int]


class _Told(NamedTuple):
    """What a process says when it has made its share: its shards' names, sequences, frames, padded frames, memory.

    `stopped`: a signal ended it before.
    """

    shards: list[str]
    sequences: int
    frames: int
    padded: int
    peak: int
    stopped: bool = False


class _Work:
    """One extraction, on one process."""

    def __init__(self, folder: Path, source: sources.Source, sampler: InferenceSampler, origin: dict[str, Any]) -> None:
        self.folder, self.source, self.sampler, self.origin = folder, source, sampler, origin
        self.key = ""
        self.saved: SavedFeatures | None = None
        self._kept: list[str] = []
        self._lock: Any = None

    @property
    def shards(self) -> Shards:
        return Shards(self.folder / UNFINISHED, self.key)

    def prepare(self) -> _Plan:
        """Look at what is there; rank 0 alone."""
        self.origin["extraction"] = self.key
        if self._complete():
            return _Plan(self.key, True, [])
        check_folder(self.folder)
        unfinished = self.folder / UNFINISHED
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            self._lock = lock(unfinished, LOCK)
        except OSError as error:
            raise write_error(unfinished, error) from None
        clear(self.folder)
        kept = self.shards.prune(lambda why: log.info("notice: %s; it is made again", why))
        self._kept = list(kept)
        done = sorted(number for numbers in kept.values() for number in numbers)
        if done:
            log.info(
                "going on with an extraction that was interrupted: %d of %d sequences are done",
                sum(len(self.sampler.batches[number]) for number in done), len(self.source.dataset),
            )  # fmt: skip
        return _Plan(self.key, False, done)

    def _complete(self) -> bool:
        """Tell whether the folder holds these features already."""
        try:
            saved = load_features(self.folder)
        except UserError:
            return False
        if saved.origin.get("extraction") != self.key:
            return False
        if saved.origin != self.origin:
            replace_origin(self.folder, saved, self.origin)
            saved = load_features(self.folder)
        log.info("the features of these weights and sequences are in %s already: they are used again", self.folder)
        self.saved = saved
        return True

    def make(self, model: nn.Module, device: torch.device, settings: Settings, asked: Interruption) -> _Told:
        """Embed this process's share of the batches, or those that come before a signal, and write the shards."""
        share = self.sampler.share()
        told = _Told([], 0, 0, 0, 0)
        pending: list[tuple[int, Rows]] = []
        size, written = 0, time.monotonic()
        expected = sum(int(self.sampler.lengths[self.sampler.batches[number]].sum()) for number in share)
        with progress_bar(expected, "extracting", " frames") as bar:
            for number, batch in zip(share, batches(self.source.loader), strict=True):
                rows = self._embedded(model, batch, device, settings)
                pending.append((number, rows))
                size += sum(array.nbytes for array in rows.arrays.values())
                frames = int(rows.lengths.sum())
                padded = batch.silhouettes.shape[0] * batch.silhouettes.shape[1]
                told = told._replace(
                    sequences=told.sequences + len(rows.indices),
                    frames=told.frames + frames,
                    padded=told.padded + padded,
                )
                bar.update(frames)
                if size >= _SHARD_BYTES or time.monotonic() - written > _SHARD_SECONDS:
                    told.shards.append(self._write(pending))
                    pending, size, written = [], 0, time.monotonic()
                if asked.signal is not None and number != share[-1]:
                    told = told._replace(stopped=True)
                    break
        if pending:
            told.shards.append(self._write(pending))
        return told._replace(peak=peak_memory())

    def _embedded(self, model: nn.Module, batch: Batch, device: torch.device, settings: Settings) -> Rows:
        try:
            return embed(model, batch, self.source.divisors, device, settings)
        except LocalError:
            raise
        except UserError as error:
            raise LocalError(f"{self.folder}: {error}") from None

    def _write(self, pending: list[tuple[int, Rows]]) -> str:
        numbers, parts = zip(*pending, strict=True)
        places, lengths, features, gei = zip(*parts, strict=True)
        images = None if gei[0] is None else np.concatenate(gei)
        rows = Rows(np.concatenate(places), np.concatenate(lengths), np.concatenate(features), images)
        try:
            return self.shards.write(numbers, rows)
        except UserError as error:
            raise LocalError(f"process {distributed.rank()}: {error}; what was made till now is kept") from None

    def finish(self, names: list[str]) -> None:
        """Put the shards together; rank 0 alone."""
        assemble(self.folder, self.source.dataset.keys(), self._rows([*self._kept, *names]), self.origin)
        self.close()
        shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
        self.saved = load_features(self.folder)

    def _rows(self, names: list[str]) -> Iterator[Rows]:
        missing = [name for name in names if not (self.folder / UNFINISHED / f"{name}.json").is_file()]
        if missing:
            raise UserError(
                f"{self.folder}: {len(missing)} of {len(names)} shards are not to be seen by rank 0: every process "
                f"must see the same folder; choose one on a disk that all machines share"
            )
        yield from self.shards.rows(names)

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _on_main(work: Any) -> Any:
    """Run something on rank 0, and return its result on every process; a UserError is raised by every process."""
    result, failure = None, None
    if distributed.is_main():
        try:
            result = work()
        except UserError as error:
            failure = str(error)
    result, failure = distributed.agree((result, failure))
    if failure is not None:
        raise UserError(failure)
    return result


def identity(
    config: Config,
    data: sources.Data,
    source: sources.Source,
    model: nn.Module,
    device: torch.device,
    settings: Settings,
) -> str:
    """Return a hash of everything that features depend on: weights, sequences, batches, settings, version, device."""
    evaluator, sampler = config.evaluator_cfg, source.loader.batch_sampler
    model_cfg = config.model_cfg.model_dump()
    plain = {
        "version": dygait.__version__,
        "device": device.type,
        "settings": vars(settings),
        "model": model_cfg,
        "dataset": config.data_cfg.dataset_name,  # it may choose the model's variant
        "files": source.dataset.files,
        "transform": config.as_dict()["evaluator_cfg"]["transform"],
        "frames": evaluator.sampler.model_dump(exclude={"frames_budget", "batch_size"}),
        "seed": config.trainer_cfg.seed,
        "data": data.store.state,
        "sequences": source.dataset.keys(),
        "batches": sampler.batches,
    }
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _frames_cut(source: sources.Source) -> dict[str, int]:
    """Return how many sequences `frames_all_limit` shortens, and by how many frames together; say so."""
    sampler, lengths = source.dataset.frames, source.dataset.lengths()
    lost = lengths - sampler.most(lengths) if sampler.amount == "all" else np.zeros_like(lengths)
    cut = {"sequences": int((lost > 0).sum()), "frames": int(lost.sum())}
    if cut["sequences"]:
        log.info(
            "evaluator_cfg.sampler.frames_all_limit %d cuts %d of %d sequences to their middle: %d of %d frames go",
            sampler.limit, cut["sequences"], len(lengths), cut["frames"], int(lengths.sum()),
        )  # fmt: skip
    return cut


def _report(sampler: InferenceSampler, everyone: list[_Told], seconds: float, device: torch.device) -> None:
    sequences, frames, padded = (sum(getattr(one, n) for one in everyone) for n in ("sequences", "frames", "padded"))
    memory = f"{max(one.peak for one in everyone) / 2**30:.2f} GiB"
    if device.type == "cuda":
        memory += f", of the GPU {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"
    log.info(
        "extracted %d sequences, %d frames, in %s: %.1f sequences/s, %.0f frames/s, %.1f %% padding; %d process(es), "
        "peak memory of one %s",
        sequences, frames, duration(seconds), sequences / seconds, frames / seconds,
        100 * (1 - frames / padded) if padded else 0.0, len(everyone), memory,
    )  # fmt: skip
