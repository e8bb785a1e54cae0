"""Testing: sequences to features on every process, features to percentages on one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dygait import distributed
from dygait.config import Config
from dygait.data import Request, batches, collate
from dygait.engine import build, checkpoint
from dygait.engine.monitor import duration, log, progress, report_results, start_logging
from dygait.engine.precision import half_precision
from dygait.engine.run import RunFolder, record, run_folder, write_atomically
from dygait.errors import UserError
from dygait.evaluation import (
    PROTOCOLS,
    SUBMISSIONS,
    EvaluationResult,
    Protocol,
    ReRank,
    Submission,
    check_against_data,
    declared_protocol,
    evaluate_detailed,
    resolve_protocol,
    to_csv,
    to_json,
    to_text,
    write_submission,
)
from dygait.evaluation.features import save_features


@dataclass(frozen=True)
class Features:
    """What was extracted, a row for each sequence of the dataset, in its order.

    Attributes:
        embeddings: float32 (N, C, P).
        gei: float32 (N, H * W, 1), gait energy images: each sequence's mean silhouette; None where not asked for.
    """

    embeddings: torch.Tensor
    gei: torch.Tensor | None


@torch.inference_mode()
def extract(
    model: nn.Module, source: build.Source, device: torch.device, half: bool = False, with_gei: bool = False
) -> Features:
    """Embed every sequence of a dataset; each process does its share, and every process returns all.

    Args:
        model: the network.
        source: the sequences.
        device: where to compute.
        half: compute in half precision; features are stored in float32 all the same.
        with_gei: average each sequence's silhouettes on the way (Han and Bhanu, *Individual Recognition Using Gait
            Energy Image*, TPAMI 2006).
    """
    model.eval()
    places, embeddings, energies = [], [], []
    for batch in progress(batches(source.loader), len(source.loader), "extracting"):
        moved = batch.to(device)
        inputs = moved.scaled(source.divisors)
        with half_precision(device, half):
            output = model(inputs, batch.lengths)
        places.append(batch.sequences)
        embeddings.append(output.inference.float().cpu())
        if with_gei:
            silhouettes = inputs if isinstance(inputs, torch.Tensor) else inputs[0]
            frames = silhouettes.shape[1] if batch.lengths is None else batch.lengths.to(device)[:, None]
            energies.append((silhouettes.sum(1).flatten(1) / frames).cpu())  # padding is zero
    if not places:
        # More processes than batches: this one has nothing, but must bring tensors of the right shape along.
        probe = collate([source.dataset[Request(0, (0, 0, 0))]]).to(device)
        inputs = probe.scaled(source.divisors)
        places.append(torch.empty(0, dtype=torch.int64))
        embeddings.append(model(inputs, None).inference.float().cpu()[:0])
        energies.append(torch.empty(0, probe.silhouettes[0, 0].numel()))
    order = distributed.gather_uneven(torch.cat(places), device).argsort()
    gathered = distributed.gather_uneven(torch.cat(embeddings), device)[order]
    gei = distributed.gather_uneven(torch.cat(energies), device)[order].unsqueeze(2) if with_gei else None
    return Features(gathered, gei)


def _protocol(config: Config) -> Protocol | Submission:
    """Return the protocol that the configuration asks for."""
    data, evaluator = config.data_cfg, config.evaluator_cfg
    if evaluator.protocol is not None:
        protocol = declared_protocol(evaluator.protocol, "evaluator_cfg.protocol")
    else:
        name = resolve_protocol(
            evaluator.eval_func, data.test_dataset_name or data.dataset_name, evaluator.cross_view_gallery
        )
        if name in SUBMISSIONS:
            return SUBMISSIONS[name]
        protocol = PROTOCOLS.get(name)
    return protocol.without_unmatched() if data.remove_no_gallery else protocol


def _re_rank(config: Config, default: ReRank | None) -> ReRank | None:
    """Return how the configuration wants distances re-ranked; where it does not say, the protocol's own way."""
    wanted = config.evaluator_cfg.re_rank
    if wanted is None:
        return default
    if isinstance(wanted, bool):
        return ReRank() if wanted else None
    constants: dict[str, Any] = {"weight" if key == "lambda" else key: value for key, value in wanted.items()}
    return ReRank(**constants)


def check_protocol(config: Config, data: build.Data, source: build.Source) -> None:
    """Refuse a protocol under which the test set gives no number, before the network runs.

    Raises:
        UserError: an empty gallery, no probe, or no probe that can match.
    """
    protocol = _protocol(config)
    if isinstance(protocol, Protocol):
        check_against_data(protocol, *source.dataset.keys(), data.partition.probe)


def test_model(
    config: Config,
    data: build.Data,
    source: build.Source,
    model: nn.Module,
    device: torch.device,
    folder: RunFolder,
    iteration: int,
) -> EvaluationResult | None:
    """Test a network: extract, score, print a table, and save the result beside the checkpoint.

    Returns:
        The result, on rank 0; None elsewhere, and for a submission, which someone else scores.

    Raises:
        UserError: data, protocol and partition do not fit each other.
    """
    evaluator = config.evaluator_cfg
    start = time.perf_counter()
    log.info("testing iteration %d on %d sequences", iteration, len(source.dataset))
    features = extract(model, source, device, evaluator.enable_float16, evaluator.baseline == "gei")
    extracted = time.perf_counter()
    result = None
    if distributed.is_main():
        result = _score(config, data, source, features, device, folder, iteration)
        rate = len(source.dataset) / (extracted - start)
        log.info(
            "extracted %d sequences in %s (%.0f a second), scored in %s",
            len(source.dataset), duration(extracted - start), rate, duration(time.perf_counter() - extracted),
        )  # fmt: skip
    distributed.barrier()
    return result


test_model.__test__ = False  # type: ignore[attr-defined] # the name is no test case


def _score(
    config: Config,
    data: build.Data,
    source: build.Source,
    features: Features,
    device: torch.device,
    folder: RunFolder,
    iteration: int,
) -> EvaluationResult | None:
    ids, types, views = source.dataset.keys()
    metric = config.evaluator_cfg.metric
    protocol = _protocol(config)
    stem = checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, iteration).with_suffix("")
    if isinstance(protocol, Submission):
        target = stem.with_name(f"{stem.name}-submission.csv")
        re_rank = _re_rank(config, protocol.re_rank)
        written = write_submission(
            protocol, features.embeddings, ids, types, views, target, metric, device, re_rank=re_rank
        )
        log.info("wrote the submission %s", written)
        return None
    evaluator = config.evaluator_cfg
    further: dict[str, Any] = {
        "device": device,
        "intervals": evaluator.intervals,
        "verification": evaluator.verification,
        "open_set": evaluator.open_set,
        "re_rank": _re_rank(config, None),
    }
    result = evaluate_detailed(
        features.embeddings, ids, types, views, protocol, metric, data.partition.probe, **further
    )
    baselines = {}
    if features.gei is not None:
        baselines["GEI nearest neighbour"] = evaluate_detailed(
            features.gei, ids, types, views, protocol, "euc", data.partition.probe, **further
        )
    model = config.model_cfg.model
    for line in to_text(result, baselines, model).splitlines():
        log.info("%s", line)
    slug = result.protocol.replace("/", "_") + ("-reranked" if further["re_rank"] is not None else "")
    base = stem.with_name(f"{stem.name}-{slug}-{metric}")
    write_atomically(base.with_name(f"{base.name}.json"), to_json(result))
    write_atomically(base.with_name(f"{base.name}.csv"), to_csv(result))
    for name, baseline in baselines.items():
        other = stem.with_name(f"{stem.name}-{slug}-{name.split()[0].lower()}.json")
        write_atomically(other, to_json(baseline))
    log.info("wrote %s.json and .csv", base)
    return result


def test(
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
    """
    data, model, path, iteration, folder = _restore(config, device, output, "test", log_to_file)
    source = build.test_source(config, data, device)
    check_protocol(config, data, source)
    if distributed.is_main():
        record(folder, "test", config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
    result = test_model(config, data, source, model, device, folder, iteration)
    if result is not None:
        report_results(folder.summary, iteration, result.percentages, result.protocol)
        log.info("checkpoint %s; log %s; TensorBoard: tensorboard --logdir %s", path, folder.logs, folder.summary)
    return result


test.__test__ = False  # type: ignore[attr-defined] # the name is no test case


def extract_to(
    config: Config, device: torch.device, target: str | Path, output: str | Path = "output", half: bool = False
) -> None:
    """Embed the test set of a configuration by a checkpoint and keep the features, for `dygait evaluate`.

    Args:
        config: as `test`.
        device: as `test`.
        target: the folder to write.
        output: as `test`.
        half: store float16.

    Raises:
        UserError: as `test`, or the features cannot be written.
    """
    data, model, path, iteration, folder = _restore(config, device, output, "extract", False)
    source = build.test_source(config, data, device)
    features = extract(model, source, device, config.evaluator_cfg.enable_float16)
    failure = None
    if distributed.is_main():
        record(folder, "extract", config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
        ids, types, views = source.dataset.keys()
        origin = {
            "checkpoint": str(path),
            "iteration": iteration,
            "dataset": config.data_cfg.dataset_name,
            "fingerprint": data.store.fingerprint,
            "protocol": _protocol(config).name,
            "metric": config.evaluator_cfg.metric,
            "probes": sorted(data.partition.probe) if data.partition.probe is not None else None,
            "config": config.as_dict(),
        }
        try:
            save_features(target, features.embeddings.numpy(), ids, types, views, origin, half)
            log.info("wrote the features of %d sequences to %s", len(ids), target)
        except UserError as error:
            failure = str(error)
    failure = distributed.agree(failure)
    if failure is not None:
        raise UserError(failure)


def _restore(
    config: Config, device: torch.device, output: str | Path, phase: str, log_to_file: bool
) -> tuple[build.Data, nn.Module, Path, int, RunFolder]:
    """Open the data of a configuration, and load the checkpoint that is to be tested."""
    evaluator = config.evaluator_cfg
    folder = run_folder(output, config, evaluator.save_name)
    path = _checkpoint_to_test(evaluator.restore_hint, folder)
    distributed.main_first(folder.create)
    start_logging(folder, phase, log_to_file)
    data = build.open_data(config)
    for note in data.notes:
        log.info("notice: %s", note)
    model = build.build_network(config, device)
    state = checkpoint.read_checkpoint(path)
    report = checkpoint.load_state(model, state["model"], str(path), evaluator.restore_ckpt_strict)
    log.info("restored %s: %s", path, report)
    iteration = int(state.get("iteration", 0))
    return data, model, path, iteration, folder


def _checkpoint_to_test(hint: int | str, folder: RunFolder) -> Path:
    if isinstance(hint, str):
        return Path(hint)
    if hint:
        return checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, hint)
    newest = checkpoint.newest_checkpoint(folder.checkpoints, folder.save_name)
    if newest is None:
        raise UserError(
            f"there is no checkpoint {folder.save_name}-*.pt in {folder.checkpoints}; train first, or name one with "
            f"evaluator_cfg.restore_hint or --iter"
        )
    return newest
