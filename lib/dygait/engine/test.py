"""Testing: sequences to features on every process, features to percentages on one."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dygait import distributed
from dygait.config import Config
from dygait.config.schema import HalfPrecision
from dygait.data import Request, batches, collate
from dygait.engine import build, checkpoint
from dygait.engine.monitor import duration, log, progress, report_results, start_logging
from dygait.engine.precision import half_precision, settled, warn_if_slow
from dygait.engine.run import RunFolder, record, run_folder, write_atomically
from dygait.errors import UserError
from dygait.evaluation import (
    GREW_SUBMISSION,
    PROTOCOLS,
    EvaluationResult,
    Protocol,
    evaluate_detailed,
    resolve_protocol,
    to_csv,
    to_json,
    to_text,
    write_grew_submission,
)
from dygait.evaluation.features import save_features
from dygait.machine import tune_allocator


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
    model: nn.Module, source: build.Source, device: torch.device, half: HalfPrecision = False, with_gei: bool = False
) -> Features:
    """Embed every sequence of a dataset; each process does its share, and every process returns all.

    Args:
        model: the network.
        source: the sequences.
        device: where to compute.
        half: compute in half precision, or `auto`; features are stored in float32 all the same.
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


def _protocol(config: Config) -> Protocol | None:
    """Return the protocol that the configuration asks for; None for a submission."""
    data, evaluator = config.data_cfg, config.evaluator_cfg
    name = resolve_protocol(
        evaluator.eval_func, data.test_dataset_name or data.dataset_name, evaluator.cross_view_gallery
    )
    if name == GREW_SUBMISSION.name:
        return None
    protocol = PROTOCOLS.get(name)
    if not data.remove_no_gallery:
        return protocol
    kept = [g for g in protocol.groups if g.unmatched == "left out"]
    return dataclasses.replace(protocol, groups=tuple(kept))


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
    if protocol is None:
        written = write_grew_submission(
            features.embeddings, ids, types, views, stem.with_name(f"{stem.name}-submission.csv"), metric
        )
        log.info("wrote the submission %s", written)
        return None
    result = evaluate_detailed(
        features.embeddings, ids, types, views, protocol, metric, data.partition.probe, device=device
    )
    baselines = {}
    if features.gei is not None:
        baselines["GEI nearest neighbour"] = evaluate_detailed(
            features.gei, ids, types, views, protocol, "euc", data.partition.probe, device=device
        )
    model = config.model_cfg.model
    for line in to_text(result, baselines, model).splitlines():
        log.info("%s", line)
    slug = result.protocol.replace("/", "_")
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
    config = settled(config, device)
    source = build.test_source(config, data, device)
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
    config = settled(config, device)
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
            "protocol": getattr(_protocol(config), "name", GREW_SUBMISSION.name),
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
    if config.trainer_cfg.tune_allocator and device.type == "cpu":
        log.info("memory: %s", tune_allocator()[1])
    warn_if_slow(device, evaluator.enable_float16 is True, None, "evaluator_cfg")
    data = build.open_data(config)
    for note in data.notes:
        log.info("notice: %s", note)
    model = build.build_network(config, device)
    state = checkpoint.read_checkpoint(path)
    averaged = evaluator.use_ema and state.get("ema") is not None
    report = checkpoint.load_state(
        model, state["ema" if averaged else "model"], str(path), evaluator.restore_ckpt_strict
    )
    log.info("restored %s: %s%s", path, report, "; the averaged weights" if averaged else "")
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
