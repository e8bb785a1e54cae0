"""The report in TensorBoard: curves, the table by view, heat maps, and features for the projector."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import torch
from tabulate import tabulate
from torch.utils.tensorboard import SummaryWriter

from dygait.evaluation.analysis import SEED, Analysis, PairAnalysis, principal_components
from dygait.evaluation.ranking import ByView
from dygait.evaluation.tables import compared, result_rows
from dygait.reporting.charts import heat_colour
from dygait.reporting.tables import methods

_POINTS = 1000
_DIMENSIONS = 50
_THRESHOLDS = 127
_CELL = 34


def add_report(folder: Path, iteration: int, analysis: Analysis, features: np.ndarray) -> None:
    """Write the results of the latest test to a separate folder, replacing those of the previous test.

    TensorBoard reads the files of a folder one after the other, and would not return to that of a training in progress.
    The projector gets the first principal components of some of the features (N, C, P).
    """
    shutil.rmtree(folder, ignore_errors=True)
    result = analysis.result
    with SummaryWriter(str(folder)) as writer:
        for group, group_analysis in analysis.groups.items():
            for rank, percent in enumerate(group_analysis.cmc.tolist(), 1):
                writer.add_scalar(f"CMC {result.protocol} (step: rank)/{group}", percent, rank)
            if group_analysis.pairs is not None:
                rates = group_analysis.pairs.verification
                writer.add_scalar(f"verification {result.protocol}/{group} EER", 100 * rates.eer, iteration)
                writer.add_scalar(f"verification {result.protocol}/{group} AUC", 100 * rates.auc, iteration)
                for far, tar in rates.tar_at_far.items():
                    if np.isfinite(tar):
                        name = f"verification {result.protocol}/{group} TAR at FAR {far:g}"
                        writer.add_scalar(name, 100 * tar, iteration)
                _add_curve(writer, f"pairs {result.protocol}/{group}", group_analysis.pairs, iteration)
        for group, matrix in result.matrices.items():
            picture = heat_map(matrix)
            writer.add_image(f"probe view by gallery view/{group}", picture, iteration, dataformats="HWC")
        writer.add_text(f"results {result.protocol}", markdown(analysis), iteration)
        _add_features(writer, analysis, features, iteration)


def _add_curve(writer: SummaryWriter, name: str, pairs: PairAnalysis, iteration: int) -> None:
    """Add genuine against impostor pairs as a precision-recall curve."""
    curve, genuine, impostor = pairs.verification.roc, pairs.verification.genuine, pairs.verification.impostor
    # From accepting all pairs to accepting none, as the plugin expects.
    indices = np.linspace(len(curve.far) - 1, 0, _THRESHOLDS).round().astype(int)
    tp, fp = curve.tar[indices] * genuine, curve.far[indices] * impostor
    precision = np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1e-12), 1.0)
    recall = curve.tar[indices]
    writer.add_pr_curve_raw(name, tp, fp, impostor - fp, genuine - tp, precision, recall, iteration, _THRESHOLDS)


def markdown(analysis: Analysis) -> str:
    """Return the results as a Markdown table, by view if there are views, else by measure."""
    result = analysis.result
    columns, rows = result_rows(methods(analysis))
    table = [[group, method, *(f"{value:.1f}" for value in values)] for group, method, values in rows]
    sides = ["left", "left", *["right"] * len(columns)]
    cells = [
        [cell.replace("|", "\\|").replace("\n", " ") for cell in line]
        for line in (["group", "method", *columns], *table)
    ]
    body = tabulate(cells, headers="firstrow", tablefmt="pipe", colalign=sides, disable_numparse=True)
    return f"{result.protocol}: {result.description}. Percent, {compared(result)}.\n\n{body}"


def heat_map(matrix: ByView) -> np.ndarray:
    """Draw a matrix of views with its values: uint8 (H, W, 3), RGB."""
    size, count = _CELL, len(matrix.views)
    picture = np.full(((count + 1) * size, (count + 1) * size, 3), 255, np.uint8)

    def write(row: int, column: int, text: str, colour: tuple[int, int, int] = (0, 0, 0)) -> None:
        origin = column * size + max(1, (size - 7 * len(text)) // 2), row * size + size // 2 + 4
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)

    for number, view in enumerate(matrix.views, 1):
        write(0, number, view)
        write(number, 0, view)
    for row, column in (np.argwhere(~np.isnan(matrix.values)) + 1).tolist():
        value = float(matrix.values[row - 1, column - 1])
        background, dark = heat_colour(value / 100)
        cell = np.s_[row * size + 1 : (row + 1) * size, column * size + 1 : (column + 1) * size]
        picture[cell] = [int(background[n : n + 2], 16) for n in (1, 3, 5)]
        write(row, column, f"{value:.0f}", (0, 0, 0) if dark == "#000" else (255, 255, 255))
    return picture


def _add_features(writer: SummaryWriter, analysis: Analysis, features: np.ndarray, iteration: int) -> None:
    count = len(analysis.ids)
    indices = np.arange(count)
    if count > _POINTS:
        indices = np.sort(np.random.default_rng(SEED).choice(count, _POINTS, replace=False))
    vectors = np.asarray(features[indices], np.float64).reshape(len(indices), -1)
    names = [analysis.ids[indices], analysis.types[indices], analysis.views[indices]]
    writer.add_embedding(
        torch.from_numpy(principal_components(vectors, min(_DIMENSIONS, len(indices)))),
        # Tabs and line ends separate cells.
        [[" ".join(str(name).split()) or "-" for name in row] for row in zip(*names, strict=True)],
        metadata_header=["id", "type", "view"],
        global_step=iteration,
        tag="features",
    )
