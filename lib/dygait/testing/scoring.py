"""Testing: extract features on every process, score them on rank 0."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dygait import distributed
from dygait.config import Config
from dygait.errors import UserError
from dygait.evaluation import (
    EvaluationResult,
    Options,
    ReRank,
    Submission,
    check_against_data,
    classification_of,
    configured_name,
    configured_protocols,
    evaluate_saved,
    to_csv,
    to_json,
    to_text,
    write_submission,
)
from dygait.evaluation.analysis import analyse
from dygait.evaluation.features import SavedFeatures, remove_features
from dygait.evaluation.literature import with_published
from dygait.files import write_atomically
from dygait.logs import duration, log, start_logging
from dygait.machine import tune_allocator
from dygait.reporting.in_tensorboard import add_report
from dygait.reporting.page import write_report
from dygait.reporting.reported_run import describe, named_by_protocol
from dygait.runs import checkpoint_files, networks, published, sources
from dygait.runs.events import add_event
from dygait.runs.folder import RunFolder, record_run, run_folder, writing
from dygait.runs.precision import resolve_precision, warn_if_slow
from dygait.runs.signals import Interruption
from dygait.runs.tensorboard import write_results
from dygait.testing.extraction import extract


def _re_rank(config: Config, default: ReRank | None) -> ReRank | None:
    """Return the parameters of re-ranking, `default` if `evaluator_cfg.re_rank` is absent; None for none."""
    setting = config.evaluator_cfg.re_rank
    if setting is None:
        return default
    if isinstance(setting, bool):
        return ReRank() if setting else None
    constants: dict[str, Any] = {"weight" if key == "lambda" else key: value for key, value in setting.items()}
    return ReRank(**constants)


def check_protocol(config: Config, data: sources.Data, source: sources.Source) -> None:
    """Raise a UserError, before the network runs, if the protocol gives no result on the test set."""
    protocols, evaluator = configured_protocols(config), config.evaluator_cfg
    for protocol in protocols if isinstance(protocols, list) else ():
        if protocol.classes is not None and (evaluator.baseline or evaluator.re_rank):
            key = "baseline" if evaluator.baseline else "re_rank"
            raise UserError(f"evaluator_cfg.{key}: the protocol {protocol.name} compares no sequences; set it to null")
        check_against_data(protocol, *source.dataset.keys(), **data.partition.lists)


def extract_and_score(
    config: Config,
    data: sources.Data,
    source: sources.Source,
    model: nn.Module,
    device: torch.device,
    folder: RunFolder,
    iteration: int,
    interruption: Interruption | None = None,
) -> list[EvaluationResult]:
    """Test a network: extract, score, log a table, and save the result next to the checkpoint.

    Returns:
        On rank 0, the result of each protocol; empty on other ranks, and for a submission, which a server scores.

    Raises:
        UserError: data, protocol and partition do not fit each other.
        Interrupted: as `extract`.
    """
    distributed.set_progress(f"the test of iteration {iteration}")
    log.info("testing iteration %d on %d sequences", iteration, len(source.dataset))
    path = checkpoint_files.checkpoint_path(folder.checkpoints, folder.save_name, iteration)
    target = folder.features / path.stem
    origin = _origin(config, data, path, iteration)
    features = extract(config, data, source, model, device, target, origin, interruption=interruption)
    results: list[EvaluationResult] = []
    if features is not None:
        start = time.perf_counter()
        results = _score(config, data, features, device, folder, path)
        log.info("scored in %s", duration(time.perf_counter() - start))
        fields: list[dict[str, Any]] = [{"protocol": r.protocol, "results": r.headlines} for r in results]
        for result_fields in fields or [{}]:
            add_event(folder, "tested", iteration=iteration, **result_fields)
        _prune_features(folder, target, config.evaluator_cfg.keep_features)
    distributed.barrier()
    return results


def _score(
    config: Config,
    data: sources.Data,
    features: SavedFeatures,
    device: torch.device,
    folder: RunFolder,
    path: Path,
) -> list[EvaluationResult]:
    """Score features under each protocol, or write the submission, next to the checkpoint `path`."""
    evaluator, protocols = config.evaluator_cfg, configured_protocols(config)
    if isinstance(protocols, Submission):
        columns = features.ids, features.types, features.views
        target = path.with_name(f"{path.stem}-submission.csv")
        options = Options(device=device, re_rank=_re_rank(config, protocols.re_rank))
        written = write_submission(protocols, features.features, *columns, target, evaluator.metric, options)
        log.info("wrote the submission %s", written)
        return []
    options = Options(
        device=device,
        re_rank=_re_rank(config, None),
        intervals=evaluator.intervals,
        verification=evaluator.verification,
        open_set=evaluator.open_set,
        keep=evaluator.report,
    )
    results = []
    for protocol in protocols:
        results.append(evaluate_saved(features, protocol, evaluator.metric, options))
        _log_and_write(config, features, folder, path, *results[-1])
    if evaluator.report and any(protocol.classes is not None for protocol in protocols):
        log.info("notice: no report: the protocol %s compares no sequences", protocols[0].name)
    elif evaluator.report:
        _report(folder, data, features, results)
    return [replace(result, comparisons={}) for result, _ in results]  # which are large


def _log_and_write(
    config: Config,
    features: SavedFeatures,
    folder: RunFolder,
    path: Path,
    result: EvaluationResult,
    baseline: EvaluationResult | None,
) -> None:
    """Log the table of a result, and write it next to the checkpoint `path`."""
    name = config.model_cfg.model
    published = with_published(result, features.origin, features.ids, name)
    for line in to_text(result, baseline, name, published=published).splitlines():
        log.info("%s", line)
    slug = result.protocol.replace("/", "_") + ("-reranked" if _re_rank(config, None) is not None else "")
    feature = config.evaluator_cfg.feature
    base = f"{path.stem}-{slug}-{result.metric}" + (f"-{feature}" if feature else "")
    with writing(folder):
        write_atomically(path.with_name(f"{base}.json"), to_json(result))
        write_atomically(path.with_name(f"{base}.csv"), to_csv(result))
        if baseline is not None:
            write_atomically(path.with_name(f"{path.stem}-{slug}-gei.json"), to_json(baseline))
    log.info("wrote %s.json and .csv", path.with_name(base))


def _report(
    folder: RunFolder,
    data: sources.Data,
    features: SavedFeatures,
    results: Sequence[tuple[EvaluationResult, EvaluationResult | None]],
) -> None:
    """Write `report/report.html` and its tables to the folder of a run, and the TensorBoard summaries."""
    analyses = [analyse(features, *pair) for pair in results]
    target, source = folder.root / "report" / "report.html", folder.features / Path(features.origin["checkpoint"]).stem
    try:
        runs = [describe(source, features, analysis, store=data.store) for analysis in analyses]
        write_report(named_by_protocol(runs), target)
        for number, analysis in enumerate(analyses):
            summary = folder.summary / ("report" if not number else f"report-{number + 1}")
            add_report(summary, features.origin["iteration"], analysis, features.features)
        log.info("wrote the report %s", target)
    except UserError as error:  # the result is saved; the other processes continue
        log.info("notice: the report cannot be written: %s", error)


def run_test(
    config: Config, device: torch.device, output: str | Path = "output", log_to_file: bool = False
) -> EvaluationResult | None:
    """Test a checkpoint of a configuration: that of `evaluator_cfg.restore_hint`, 0 the newest.

    The run's folder is in `output`; log lines are written to a file there too if `log_to_file`.

    Returns:
        On rank 0, the result of the first protocol; None on other ranks, and for a submission.

    Raises:
        UserError: there is no such checkpoint, or it or the data does not fit.
        Interrupted: a signal came before all sequences were embedded; the features so far are kept.
    """
    run = _restore(config, device, output, "test", log_to_file)
    results = extract_and_score(run.config, run.data, run.source, run.model, device, run.folder, run.iteration)
    if not results:
        return None
    summary = run.folder.summary
    for result in results:
        write_results(summary, run.iteration, result.percentages, result.protocol)
    log.info("checkpoint %s; log %s; TensorBoard: tensorboard --logdir %s", run.path, run.folder.logs, summary)
    return results[0]


def run_extraction(
    config: Config, device: torch.device, target: str | Path, output: str | Path = "output", half: bool = False
) -> None:
    """Extract the features of the test set by a checkpoint and save them in `target`, as float16 if `half`.

    Arguments and errors are those of `run_test`; a UserError is also raised if the features cannot be written.
    """
    run = _restore(config, device, output, "extract", False)
    origin = _origin(run.config, run.data, run.path, run.iteration)
    saved = extract(run.config, run.data, run.source, run.model, device, target, origin, half)
    if saved is not None:
        log.info("the features of %d sequences are in %s", len(saved.ids), target)


def _origin(config: Config, data: sources.Data, path: Path, iteration: int) -> dict[str, Any]:
    """Return the metadata that is saved with features: where they come from, and how to score them."""
    return {
        "checkpoint": str(path),
        "iteration": iteration,
        "dataset": config.data_cfg.dataset_name,
        "fingerprint": data.store.fingerprint,
        "protocol": configured_name(config),
        "metric": config.evaluator_cfg.metric,
        **data.partition.lists,
        "config": config.as_dict(),
    }


def _prune_features(folder: RunFolder, latest: Path, keep: str) -> None:
    """Delete the features of a run's tests that `evaluator_cfg.keep_features` does not keep."""
    pattern = re.compile(re.escape(folder.save_name) + r"-\d{5,}")
    for path in sorted(folder.features.iterdir()):
        if pattern.fullmatch(path.name) and (keep == "none" if path == latest else keep == "latest"):
            remove_features(path)


class _RestoredRun(NamedTuple):
    config: Config  # the precision resolved
    data: sources.Data
    source: sources.Source
    model: nn.Module
    path: Path  # the checkpoint
    iteration: int
    folder: RunFolder


def _restore(config: Config, device: torch.device, output: str | Path, phase: str, log_to_file: bool) -> _RestoredRun:
    """Open the test set of a configuration, load the checkpoint to test, and record the run."""
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
    state = checkpoint_files.read_checkpoint(path)
    averaged = evaluator.use_ema and state.get("ema") is not None
    report = checkpoint_files.load_state(
        model,
        state["ema" if averaged else "model"],
        str(path),
        evaluator.restore_ckpt_strict,
        reset_head=evaluator.feature != "logits" and classification_of(config) is None,  # then a test does not read it
    )
    log.info("restored %s: %s%s", path, report, "; the averaged weights" if averaged else "")
    config = resolve_precision(config, device)
    source = sources.build_test_source(config, data, device)
    if phase == "test":
        check_protocol(config, data, source)
    record_run(folder, phase, config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
    return _RestoredRun(config, data, source, model, path, int(state.get("iteration", 0)), folder)


def _checkpoint_to_test(hint: int | str, folder: RunFolder, damaged: list[tuple[Path, str]]) -> Path:
    """Return the checkpoint that a restore_hint means; newer damaged ones are appended to `damaged`."""
    if isinstance(hint, str):
        return published.locate(hint)
    if hint:
        return checkpoint_files.checkpoint_path(folder.checkpoints, folder.save_name, hint)
    newest = checkpoint_files.newest_checkpoint(
        folder.checkpoints, folder.save_name, lambda *pair: damaged.append(pair)
    )
    if newest is None:
        raise UserError(
            f"there is no checkpoint {folder.save_name}-*.pt in {folder.checkpoints}; train first, or name one with "
            f"evaluator_cfg.restore_hint or --iter"
        )
    return newest
