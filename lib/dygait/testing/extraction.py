"""Extraction: embed every test sequence and save the features in a folder.

Each process embeds its share of the batches and writes the features to shards as it goes; rank 0 assembles them.
Existing features, of an interrupted or a complete extraction, are reused if they come from the same weights, data and
settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

import dygait
from dygait import distributed
from dygait.config import Config
from dygait.config.schema import Feature, HalfPrecision
from dygait.data.collate import Batch, collate
from dygait.data.dataset import Request
from dygait.data.frame_sampler import window_starts
from dygait.data.loader import batches, working
from dygait.data.samplers import InferenceSampler
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
)
from dygait.evaluation.shards import LOCK, Shards
from dygait.files import write_errors
from dygait.logs import duration, log, progress_bar
from dygait.machine import peak_memory
from dygait.modeling.layers import mean_of_windows
from dygait.runs import sources
from dygait.runs.memory import explained_memory
from dygait.runs.precision import half_precision
from dygait.runs.published import fingerprint
from dygait.runs.signals import Interruption, name_of

_FEW = 12  # frames
_SHARD_BYTES = 2**25
_SHARD_SECONDS = 30.0
"""A process writes a shard after this many bytes of features, or this long: the most that an interruption loses."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of the embedding of sequences, and of the stored features.

    The gait energy image is the mean silhouette of a sequence (Han and Bhanu, *Individual Recognition Using Gait Energy
    Image*, TPAMI 2006).
    """

    float16: HalfPrecision = False  # compute in half precision
    half: bool = False  # store float16
    gei: bool = False  # store gait energy images too
    feature: str = "inference"  # which output of the network
    window: int | None = None  # features are the mean over windows of so many frames; None: of the whole sequence


@torch.inference_mode()
def embed(model: nn.Module, batch: Batch, device: torch.device, settings: EmbeddingSettings) -> Rows:
    """Embed the sequences of a batch by a network in evaluation mode.

    Raises:
        LocalError: the features overflow the stored type, or the device's memory does not hold the batch.
    """
    moved = batch.to(device)
    inputs = moved.scaled()
    remedy = "lower evaluator_cfg.sampler.frames_budget, or cut long sequences with frames_all_limit"
    with explained_memory(batch, remedy), half_precision(device, settings.float16):
        features = embed_windows(model, inputs, batch.lengths, settings)
    frames = batch.silhouettes.shape[1]
    lengths = torch.full((len(batch.sequences),), frames) if batch.lengths is None else batch.lengths
    gei = None
    if settings.gei:
        silhouettes = inputs if isinstance(inputs, torch.Tensor) else inputs[0]
        total = silhouettes.sum(1).flatten(1, -2)  # (N, H, W); padding is zero, channels are one above the other
        gei = (total / lengths.to(device)[:, None, None]).cpu().numpy()
    rows = Rows(batch.sequences.numpy(), lengths.numpy(), features.float().cpu().numpy(), gei)
    return rows.stored(settings.half)


def embed_windows(
    model: nn.Module,
    inputs: torch.Tensor | tuple[torch.Tensor, ...],
    lengths: torch.Tensor | None,
    settings: EmbeddingSettings,
) -> torch.Tensor:
    """Return features (N, C, P) of whole sequences, or the mean over their windows."""
    first = inputs if isinstance(inputs, torch.Tensor) else inputs[0]
    (n, frames), size = first.shape[:2], settings.window
    if size is None or frames <= size:
        return getattr(model(inputs, lengths), settings.feature)
    counts = [frames] * n if lengths is None else lengths.tolist()
    starts = [window_starts(count, size) for count in counts]
    owner = torch.from_numpy(np.repeat(np.arange(n), [len(s) for s in starts]))
    frame_indices = torch.from_numpy(np.concatenate(starts))[:, None] + torch.arange(size)
    windows = [modality[owner[:, None], frame_indices] for modality in ([first] if first is inputs else inputs)]
    valid = torch.tensor(counts)[owner].clamp(max=size)
    output = model(windows[0] if first is inputs else tuple(windows), None if valid.min() == size else valid)
    features: torch.Tensor = getattr(output, settings.feature)
    return mean_of_windows(features, owner, n)


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
    """Embed every sequence of the test set and save the features; existing ones of the same origin are reused.

    `source` is `sources.build_test_source` of `data`. The folder is on a file system that every process sees; `origin`
    is saved with the features, as float16 if `half`. `interruption` is the handler of signals, if one is active.

    Returns:
        The features, on rank 0; None elsewhere. No process returns before they are complete.

    Raises:
        UserError: the folder holds something else, cannot be written, or is being written by another run; or the
            network does not have the feature.
        Interrupted: one of the processes got a signal before its share was done; finished batches are kept. Every
            process raises it.
    """
    evaluator = config.evaluator_cfg
    model.eval()
    feature = compared_feature(model, source, device, evaluator.feature)
    window = evaluator.sampler.frames_window
    settings = EmbeddingSettings(evaluator.enable_float16, half, evaluator.baseline == "gei", feature, window)
    frame_size = [*source.dataset.sizes(int(source.dataset.indices[0]))[0]]
    added = {"feature": feature, "frame_size": frame_size, "frames_cut": _frames_cut(source)}
    extraction = _Extraction(Path(folder), source, {**origin, **added})
    try:
        extraction.key, done = distributed.on_main(
            lambda: extraction.prepare(identity(config, data, source, model, device, settings))
        )
        if done is None:
            return extraction.saved
        start = time.perf_counter()
        shares = extraction.embed_all(model, device, settings, done, interruption)
        seconds = time.perf_counter() - start
        distributed.on_main(lambda: extraction.finish([name for share in shares for name in share.shards]))
    finally:
        extraction.unlock()
    _log_summary(shares, seconds, device)
    return extraction.saved


@torch.inference_mode()
def compared_feature(
    model: nn.Module, source: sources.Source, device: torch.device, requested: Feature | None = None
) -> str:
    """Return the name of the output that is compared: `requested`, or the default of the network.

    The network, in evaluation mode, runs on a few frames. `inference` means an output that has no other name.

    Raises:
        UserError: the network does not have it.
    """
    batch = collate([source.dataset[Request(0, (0, 0, 0))]]).to(device)
    short = replace(batch, silhouettes=batch.silhouettes[:, :_FEW], others=tuple(o[:, :_FEW] for o in batch.others))
    output = model(short.scaled())
    available = [name for name in get_args(Feature) if getattr(output, name) is not None]
    if requested is not None and requested not in available:
        raise UserError(f"evaluator_cfg.feature: the network gives no {requested}; choose {' or '.join(available)}")
    return requested or next((name for name in available if getattr(output, name) is output.inference), "inference")


@dataclass
class _Share:
    """The part of an extraction that one process has done."""

    shards: list[str] = field(default_factory=list)  # their names
    sequences: int = 0
    frames: int = 0
    padded: int = 0  # frames with padding
    peak: int = 0  # peak memory in bytes
    stopped: bool = False  # a signal ended it early


class _Extraction:
    """An extraction on this process."""

    def __init__(self, folder: Path, source: sources.Source, origin: dict[str, Any]) -> None:
        assert isinstance(source.loader.batch_sampler, InferenceSampler)
        self.folder, self.source, self.sampler, self.origin = folder, source, source.loader.batch_sampler, origin
        self.key = ""
        self.saved: SavedFeatures | None = None
        self._existing_shards: list[str] = []
        self._lock: Any = None

    @property
    def shards(self) -> Shards:
        return Shards(self.folder / UNFINISHED, self.key)

    def prepare(self, key: str) -> tuple[str, list[int] | None]:
        """Check and lock the folder, on rank 0; return the key and the finished batches, None if all features exist."""
        self.key = self.origin["extraction"] = key
        if self._complete():
            return key, None
        check_folder(self.folder)
        unfinished = self.folder / UNFINISHED
        with write_errors(unfinished):
            unfinished.mkdir(parents=True, exist_ok=True)
            self._lock = lock(unfinished, LOCK)
        clear(self.folder)
        valid = self.shards.prune(lambda why: log.info("notice: %s; it is extracted again", why))
        self._existing_shards = list(valid)
        done = sorted(number for numbers in valid.values() for number in numbers)
        if done:
            log.info(
                "continuing an interrupted extraction: %d of %d sequences are done",
                sum(len(self.sampler.batches[number]) for number in done), len(self.source.dataset),
            )  # fmt: skip
        return key, done

    def _complete(self) -> bool:
        """Return whether the folder holds these features already."""
        try:
            saved = load_features(self.folder)
        except UserError:
            return False
        if saved.origin.get("extraction") != self.key:
            return False
        if saved.origin != self.origin:
            replace_origin(self.folder, self.origin)
            saved = load_features(self.folder)
        log.info("reusing the features of these weights and sequences in %s", self.folder)
        self.saved = saved
        return True

    def embed_all(
        self,
        model: nn.Module,
        device: torch.device,
        settings: EmbeddingSettings,
        done: list[int],
        interruption: Interruption | None,
    ) -> list[_Share]:
        """Embed the batches that are not done, and return the share of each process.

        Raises:
            Interrupted: a process got a signal before its share was done.
        """
        self.sampler.done = frozenset(done)
        try:
            with Interruption() if interruption is None else contextlib.nullcontext(interruption) as signals:
                with signals.during("this batch"), working():
                    share = self._embed_share(model, device, settings, signals)
                shares = distributed.all_gather_object(share)
                if any(share.stopped for share in shares):
                    embedded = sum(len(self.sampler.batches[number]) for number in done)
                    embedded += sum(share.sequences for share in shares)
                    progress = f"{embedded} of {len(self.source.dataset)} sequences are embedded"
                    if interruption is None:
                        progress = f"{name_of(signals.signal)}: {progress} and kept; run the same command to continue"
                    raise Interrupted(progress)
        finally:
            self.sampler.done = frozenset()
        return shares

    def _embed_share(
        self, model: nn.Module, device: torch.device, settings: EmbeddingSettings, signals: Interruption
    ) -> _Share:
        """Embed this process's share of the batches, up to a signal, and write the shards."""
        numbers, share = self.sampler.batches_of_rank(), _Share()
        pending: list[tuple[int, Rows]] = []
        size, written = 0, time.monotonic()
        expected = sum(int(self.sampler.lengths[self.sampler.batches[number]].sum()) for number in numbers)
        with progress_bar(expected, "extracting", " frames") as bar:
            for number, batch in zip(numbers, batches(self.source.loader), strict=True):
                rows = embed(model, batch, device, settings)
                pending.append((number, rows))
                size += sum(array.nbytes for array in rows.arrays.values())
                frames = int(rows.lengths.sum())
                share.sequences += len(rows.indices)
                share.frames += frames
                share.padded += batch.silhouettes.shape[0] * batch.silhouettes.shape[1]
                bar.update(frames)
                if size >= _SHARD_BYTES or time.monotonic() - written > _SHARD_SECONDS:
                    share.shards.append(self._write(pending))
                    pending, size, written = [], 0, time.monotonic()
                if signals.signal is not None and number != numbers[-1]:
                    share.stopped = True
                    break
        if pending:
            share.shards.append(self._write(pending))
        share.peak = peak_memory()
        return share

    def _write(self, pending: list[tuple[int, Rows]]) -> str:
        numbers, parts = zip(*pending, strict=True)
        columns: list[Any] = [None if c[0] is None else np.concatenate(c) for c in zip(*parts, strict=True)]
        try:
            return self.shards.write(numbers, Rows(*columns))
        except UserError as error:
            raise LocalError(f"process {distributed.rank()}: {error}; finished shards are kept") from None

    def finish(self, names: list[str]) -> None:
        """Assemble the shards; on rank 0."""
        names = [*self._existing_shards, *names]
        missing = [name for name in names if not self.shards.path(name).is_file()]
        if missing:
            raise UserError(
                f"{self.folder}: rank 0 does not see {len(missing)} of {len(names)} shards: every process must see "
                f"the same folder; choose one on a file system that all machines share"
            )
        rows = (self.shards.read(name)[1] for name in names)
        assemble(self.folder, self.source.dataset.keys(), rows, self.origin)
        self.unlock()
        shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
        self.saved = load_features(self.folder)

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def identity(
    config: Config,
    data: sources.Data,
    source: sources.Source,
    model: nn.Module,
    device: torch.device,
    settings: EmbeddingSettings,
) -> str:
    """Return a hash of what the features depend on: weights, sequences, batches, settings, version, device."""
    inputs = {
        "version": dygait.__version__,
        "device": device.type,
        "settings": vars(settings),
        "model": config.model_cfg.model_dump(),
        "dataset": config.data_cfg.dataset_name,  # it may choose the model's variant
        "files": source.dataset.files,
        "transform": config.as_dict()["evaluator_cfg"]["transform"],
        "frames": config.evaluator_cfg.sampler.model_dump(exclude={"frames_budget", "batch_size"}),
        "seed": config.trainer_cfg.seed,
        "data": data.store.state(),
        "sequences": source.dataset.keys(),
        "batches": source.loader.batch_sampler.batches,
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    digest.update(fingerprint(model.state_dict()).encode())
    return digest.hexdigest()


def _frames_cut(source: sources.Source) -> dict[str, int]:
    """Return, and log, how many sequences `frames_all_limit` shortens and how many frames it removes."""
    sampler, stored = source.dataset.frames, source.dataset.lengths()
    lengths = -(-stored // sampler.frames_step)
    removed = lengths - sampler.max_frames(stored) if sampler.amount == "all" else np.zeros_like(lengths)
    cut = {"sequences": int((removed > 0).sum()), "frames": int(removed.sum())}
    if cut["sequences"]:
        log.info(
            "evaluator_cfg.sampler.frames_all_limit %d shortens %d of %d sequences: %d of %d frames are not used",
            sampler.limit, cut["sequences"], len(lengths), cut["frames"], int(lengths.sum()),
        )  # fmt: skip
    return cut


def _log_summary(shares: list[_Share], seconds: float, device: torch.device) -> None:
    sequences, frames, padded = (sum(getattr(s, n) for s in shares) for n in ("sequences", "frames", "padded"))
    memory = f"{max(s.peak for s in shares) / 2**30:.2f} GiB"
    if device.type == "cuda":
        memory += f", of the GPU {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"
    log.info(
        "extracted %d sequences, %d frames, in %s: %.1f sequences/s, %.0f frames/s, %.1f %% padding; %d process(es), "
        "peak memory of one %s",
        sequences, frames, duration(seconds), sequences / seconds, frames / seconds,
        100 * (1 - frames / padded) if padded else 0.0, len(shares), memory,
    )  # fmt: skip
