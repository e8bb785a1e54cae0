"""Testing: extract features on every process, score them on rank 0."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dygait import distributed
from dygait.config import Config
from dygait.errors import UserError
from dygait.evaluation import (
    PROTOCOLS,
    SUBMISSIONS,
    EvaluationResult,
    Protocol,
    ReRank,
    Submission,
    check_against_data,
    evaluate_detailed,
    resolve_protocol,
    to_csv,
    to_json,
    to_text,
    write_submission,
)
from dygait.evaluation.features import SavedFeatures, remove_features
from dygait.files import write_atomically
from dygait.logs import duration, log, start_logging
from dygait.machine import tune_allocator
from dygait.reporting.run_report import write_run_report
from dygait.runs import checkpoint, networks, sources
from dygait.runs.events import add_event
from dygait.runs.folder import RunFolder, record_run, run_folder, writing
from dygait.runs.precision import resolve_precision, warn_if_slow
from dygait.runs.signals import Interruption
from dygait.runs.tensorboard import write_results
from dygait.testing.extraction import extract


def _protocol(config: Config) -> Protocol | Submission:
    """Return the protocol of the configuration."""
    data, evaluator = config.data_cfg, config.evaluator_cfg
    if evaluator.protocol is not None:
        protocol = evaluator.protocol
    else:
        name = resolve_protocol(
            evaluator.eval_func, data.test_dataset_name or data.dataset_name, evaluator.cross_view_gallery
        )
        if name in SUBMISSIONS:
            return SUBMISSIONS[name]
        protocol = PROTOCOLS.get(name)
    return protocol.without_unmatched() if data.remove_no_gallery else protocol


def _re_rank(config: Config, default: ReRank | None) -> ReRank | None:
    """Return how distances are re-ranked: by `re_rank`, or `default` where it is absent."""
    wanted = config.evaluator_cfg.re_rank
    if wanted is None:
        return default
    if isinstance(wanted, bool):
        return ReRank() if wanted else None
    constants: dict[str, Any] = {"weight" if key == "lambda" else key: value for key, value in wanted.items()}
    return ReRank(**constants)


def check_protocol(config: Config, data: sources.Data, source: sources.Source) -> None:
    """Check, before the network runs, that the protocol gives a result on the test set.

    Raises:
        UserError: an empty gallery, no probe, or no probe that can match.
    """
    protocol = _protocol(config)
    if isinstance(protocol, Protocol):
        check_against_data(protocol, *source.dataset.keys(), data.partition.probe)


def extract_and_score(
    config: Config,
    data: sources.Data,
    source: sources.Source,
    model: nn.Module,
    device: torch.device,
    folder: RunFolder,
    iteration: int,
    interruption: Interruption | None = None,
) -> EvaluationResult | None:
    """Test a network: extract, score, log a table, and save the result next to the checkpoint.

    Returns:
        The result, on rank 0; None elsewhere, and for a submission, which a server scores.

    Raises:
        UserError: data, protocol and partition do not fit each other.
        Interrupted: as `extract`.
    """
    distributed.set_progress(f"the test of iteration {iteration}")
    log.info("testing iteration %d on %d sequences", iteration, len(source.dataset))
    path = checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, iteration)
    target = folder.features / path.stem
    origin = _origin(config, data, path, iteration)
    features = extract(config, data, source, model, device, target, origin, interruption=interruption)
    result = None
    if features is not None:
        start = time.perf_counter()
        result = _score(config, data, features, device, folder, iteration)
        log.info("scored in %s", duration(time.perf_counter() - start))
        fields: dict[str, Any] = {}
        if result is not None:
            first = result.measures[0]
            headlines = {group: float(values[first]) for group, values in result.percentages.items()}
            fields = {"protocol": result.protocol, "results": headlines}
        add_event(folder, "tested", iteration=iteration, **fields)
        _prune_features(folder, target, config.evaluator_cfg.keep_features)
    distributed.barrier()
    return result


def _score(
    config: Config,
    data: sources.Data,
    features: SavedFeatures,
    device: torch.device,
    folder: RunFolder,
    iteration: int,
) -> EvaluationResult | None:
    columns = features.ids, features.types, features.views
    metric = config.evaluator_cfg.metric
    protocol = _protocol(config)
    stem = checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, iteration).with_suffix("")
    if isinstance(protocol, Submission):
        target = stem.with_name(f"{stem.name}-submission.csv")
        re_rank = _re_rank(config, protocol.re_rank)
        written = write_submission(protocol, features.features, *columns, target, metric, device, re_rank=re_rank)
        log.info("wrote the submission %s", written)
        return None
    evaluator = config.evaluator_cfg
    options: dict[str, Any] = {
        "device": device,
        "intervals": evaluator.intervals,
        "verification": evaluator.verification,
        "open_set": evaluator.open_set,
        "re_rank": _re_rank(config, None),
    }
    probes = data.partition.probe
    result = evaluate_detailed(features.features, *columns, protocol, metric, probes, keep=evaluator.report, **options)
    baselines = {}
    if features.gei is not None:
        baselines["GEI nearest neighbour"] = evaluate_detailed(
            features.gei.reshape(len(features.gei), -1, 1), *columns, protocol, "euc", probes, **options
        )
    model = config.model_cfg.model
    for line in to_text(result, baselines, model).splitlines():
        log.info("%s", line)
    slug = result.protocol.replace("/", "_") + ("-reranked" if options["re_rank"] is not None else "")
    base = stem.with_name(f"{stem.name}-{slug}-{metric}")
    with writing(folder):
        write_atomically(base.with_name(f"{base.name}.json"), to_json(result))
        write_atomically(base.with_name(f"{base.name}.csv"), to_csv(result))
        for name, baseline in baselines.items():
            other = stem.with_name(f"{stem.name}-{slug}-{name.split()[0].lower()}.json")
            write_atomically(other, to_json(baseline))
    log.info("wrote %s.json and .csv", base)
    if evaluator.report:
        gei = next(iter(baselines.values()), None)
        try:
            report = write_run_report(folder, features, protocol, result, gei, probes, data.store, device)
            log.info("wrote the report %s", report)
        except UserError as error:  # the result is saved; the other processes continue
            log.info("notice: the report cannot be written: %s", error)
    return replace(result, comparisons={})  # which are large


def run_test(
    config: Config, device: torch.device, output: str | Path = "output", log_to_file: bool = False
) -> EvaluationResult | None:
    """Test a checkpoint of a configuration.

    Args:
        config: the experiment; `evaluator_cfg.restore_hint` says which checkpoint, 0 the newest.
        device: where to compute, as `distributed.process_group` gives it.
        output: the folder that the run's folder is in.
        log_to_file: write the log lines to a file too.

    Returns:
        The result, on rank 0; None elsewhere, and for a submission.

    Raises:
        UserError: there is no such checkpoint, or it or the data does not fit.
        Interrupted: a signal came before all sequences were embedded; the features so far are kept.
    """
    data, model, path, iteration, folder = _restore(config, device, output, "test", log_to_file)
    config = resolve_precision(config, device)
    source = sources.build_test_source(config, data, device)
    check_protocol(config, data, source)
    record_run(folder, "test", config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
    result = extract_and_score(config, data, source, model, device, folder, iteration)
    if result is not None:
        write_results(folder.summary, iteration, result.percentages, result.protocol)
        log.info("checkpoint %s; log %s; TensorBoard: tensorboard --logdir %s", path, folder.logs, folder.summary)
    return result


def run_extraction(
    config: Config, device: torch.device, target: str | Path, output: str | Path = "output", half: bool = False
) -> None:
    """Extract the features of the test set by a checkpoint and save them for `dygait evaluate`.

    Args:
        config: as `run_test`.
        device: as `run_test`.
        target: where to save the features.
        output: as `run_test`.
        half: store float16.

    Raises:
        UserError: as `run_test`, or the features cannot be written.
        Interrupted: as `run_test`.
    """
    data, model, path, iteration, folder = _restore(config, device, output, "extract", False)
    config = resolve_precision(config, device)
    source = sources.build_test_source(config, data, device)
    record_run(folder, "extract", config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
    saved = extract(config, data, source, model, device, target, _origin(config, data, path, iteration), half)
    if saved is not None:
        log.info("the features of %d sequences are in %s", len(saved.ids), target)


def _origin(config: Config, data: sources.Data, path: Path, iteration: int) -> dict[str, Any]:
    """Return the metadata that is saved with features: where they come from, and how to score them."""
    return {
        "checkpoint": str(path),
        "iteration": iteration,
        "dataset": config.data_cfg.dataset_name,
        "fingerprint": data.store.fingerprint,
        "protocol": _protocol(config).name,
        "metric": config.evaluator_cfg.metric,
        "probes": sorted(data.partition.probe) if data.partition.probe is not None else None,
        "config": config.as_dict(),
    }


def _prune_features(folder: RunFolder, latest: Path, keep: str) -> None:
    """Delete the features of a run's tests that `evaluator_cfg.keep_features` does not keep."""
    pattern = re.compile(re.escape(folder.save_name) + r"-\d{5,}")
    for found in sorted(folder.features.iterdir()):
        if pattern.fullmatch(found.name) and (keep == "none" if found == latest else keep == "latest"):
            remove_features(found)


def _restore(
    config: Config, device: torch.device, output: str | Path, phase: str, log_to_file: bool
) -> tuple[sources.Data, nn.Module, Path, int, RunFolder]:
    """Open the data of a configuration, and load the checkpoint to test."""
    evaluator = config.evaluator_cfg
    folder = run_folder(output, config, evaluator.save_name)
    damaged: list[tuple[Path, str]] = []
    path = _checkpoint_to_test(evaluator.restore_hint, folder, damaged)
    distributed.main_first(folder.create)
    start_logging(folder.logs if log_to_file else None, phase)
    for newer, damage in damaged:
        log.info("notice: skipping the damaged checkpoint %s (%s)", newer, damage)
    if config.trainer_cfg.tune_allocator and device.type == "cpu":
        log.info("memory: %s", tune_allocator()[1])
    warn_if_slow(device, evaluator.enable_float16 is True, None, "evaluator_cfg")
    data = sources.open_data(config)
    for note in data.notes:
        log.info("notice: %s", note)
    model = networks.build_network(config, device)
    state = checkpoint.read_checkpoint(path)
    averaged = evaluator.use_ema and state.get("ema") is not None
    report = checkpoint.load_state(
        model, state["ema" if averaged else "model"], str(path), evaluator.restore_ckpt_strict
    )
    log.info("restored %s: %s%s", path, report, "; the averaged weights" if averaged else "")
    iteration = int(state.get("iteration", 0))
    return data, model, path, iteration, folder


def _checkpoint_to_test(hint: int | str, folder: RunFolder, damaged: list[tuple[Path, str]]) -> Path:
    """Return the checkpoint that a restore_hint means; newer damaged ones are appended to `damaged`."""
    if isinstance(hint, str):
        return Path(hint)
    if hint:
        return checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, hint)
    newest = checkpoint.newest_checkpoint(folder.checkpoints, folder.save_name, lambda *pair: damaged.append(pair))
    if newest is None:
        raise UserError(
            f"there is no checkpoint {folder.save_name}-*.pt in {folder.checkpoints}; train first, or name one with "
            f"evaluator_cfg.restore_hint or --iter"
        )
    return newest
