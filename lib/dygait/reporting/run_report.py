"""The report of a test in the folder of its run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from dygait.data import Store
from dygait.evaluation import EvaluationResult, Protocol
from dygait.evaluation.analysis import analyse
from dygait.evaluation.features import SavedFeatures
from dygait.reporting.page import write_report
from dygait.reporting.reported_run import baseline_features, describe
from dygait.reporting.tensorboard import add_report
from dygait.runs.folder import RunFolder


def write_run_report(
    folder: RunFolder,
    features: SavedFeatures,
    protocol: Protocol,
    result: EvaluationResult,
    baseline: EvaluationResult | None,
    probes: Collection[str] | None,
    store: Store,
    device: torch.device,
) -> Path:
    """Write `report/report.html` and its tables to the folder of a run, and the TensorBoard summaries.

    Args:
        folder: the folder of the run.
        features: the features of the test.
        protocol: the protocol of the test.
        result: the evaluation with its comparisons (`keep=True`).
        baseline: the evaluation of the gait energy images, if any.
        probes: the PROBE_SET, if any.
        store: the data, for the frames of confused sequences.
        device: where distances are computed.

    Returns:
        The HTML file.

    Raises:
        UserError: the report cannot be written.
    """
    names = features.ids, features.types, features.views
    analysis = analyse(
        features.features,
        *names,
        protocol,
        result.metric,
        probes,
        lengths=features.lengths,
        gei=baseline_features(features),
        result=result,
        baseline=baseline,
        device=device,
    )
    target = folder.root / "report" / "report.html"
    run = describe(folder.features / Path(str(features.origin["checkpoint"])).stem, features, analysis, store=store)
    write_report([run], target)
    add_report(folder.summary / "report", int(features.origin["iteration"]), analysis, features.features)
    return target
