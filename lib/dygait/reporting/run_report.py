"""The report that a test leaves in its run's folder."""

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
    """Write `report/report.html` and its tables in a run's folder, and the same for TensorBoard.

    Args:
        folder: the run's.
        features: what was tested.
        protocol: how.
        result: the evaluation, its comparisons kept.
        baseline: that of the gait energy images, where there is one.
        probes: the PROBE_SET, where there is one.
        store: the data, for frames of the sequences that are confused.
        device: where to compute distances.

    Returns:
        The HTML file.

    Raises:
        UserError: it cannot be written.
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
