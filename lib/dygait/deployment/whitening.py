"""Whitening: directions of the features that vary within a person, or between views, are scaled down.

Within-class covariance normalisation (Hatch et al., *Within-class Covariance Normalization for SVM-based Speaker
Recognition*, Interspeech 2006), separately for each part, with centring and the cosine distance; or the same with the
covariance between the means of the views, for which nobody need be known. It is linear, so it is folded into the
separate FCs and into the BatchNorm of the BNNecks, whose normalised output is compared. No gradient is computed: it
takes as long as a test.

N sequences, C channels, P parts.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dygait.data.stores import RenderedStore, Store
from dygait.deployment.embedding import embed_stored
from dygait.deployment.pretrained import PretrainedModel
from dygait.deployment.scoring import labelled_sequences
from dygait.errors import UserError
from dygait.modeling.heads import check_part_weights
from dygait.runs import published

SHRINKAGE = {"people": 0.1, "views": 0.3}
"""Weight of the identity added to the covariance, relative to the mean variance. Of people, 0.01 to 1 give nearly the
same results."""
_FC, _NORM = "fcs.fc_bin", "necks.bn1d"


def training_sequences(
    model: PretrainedModel, root: str | None, count: int, partition: str | None = None
) -> tuple[Store, list[int]]:
    """Open at most `count` evenly spaced sequences of a dataset's training ids.

    Args:
        root: as for `labelled_sequences`; None: the training data of the weights.
        partition: likewise.

    Raises:
        UserError: the count is not positive, the weights were trained on several datasets, or there is no such dataset.
    """
    if count < 1:
        raise UserError(f"--count {count}: whitening needs sequences")
    data = model.info.training["config"]["data_cfg"]
    if root is None:
        root, partition = data.get("dataset_root"), partition or data.get("dataset_partition")
    if not isinstance(root, str):
        raise UserError(f"{model.info.name} was trained on several datasets: name one with --data")
    store, indices = labelled_sequences(root, "train", data["dataset_name"], partition)
    positions = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return store, [indices[position] for position in positions]


def write_whitened(
    model: PretrainedModel,
    store: Store,
    indices: Sequence[int],
    target: Path,
    part_weights: Sequence[float] | None = None,
    by: str = "people",
) -> None:
    """Write a model's weights, whitened by sequences of a store, and their metadata as a safetensors file.

    Args:
        by: as for `whitened`.
        part_weights: weight of each part in a distance; None: all are equal.

    Raises:
        UserError: as in `whitened`; the target has another suffix; or the number of weights is not that of parts.
    """
    published.check_target(target)
    training = model.info.training
    config = training["config"]
    if part_weights is not None:
        config = weigh_parts(model, part_weights)
    weights = whitened(model, store, indices, by)
    head = getattr(model.network, "class_head", ())
    evaluator = {**config["evaluator_cfg"], "feature": "after_neck"}
    data = store.settings.address if isinstance(store, RenderedStore) else Path(store.root).name
    record = {
        **training,
        "config": {**config, "evaluator_cfg": evaluator},
        "whitened": {"data": data, "sequences": len(indices)} | ({} if by == "people" else {"by": by}),
        "frame_rate": model.info.frame_rate,
        "input_size": model.info.input_size,
    }
    published.write(target, {name: tensor for name, tensor in weights.items() if name not in head}, record)


def _foldable(model: PretrainedModel) -> tuple[dict[str, torch.Tensor], dict[str, slice]]:
    """Return the weights of a model with separate FCs before BNNecks, and the parts of each network in it.

    The networks are the members of an ensemble, or one, without a name.
    """
    weights, parts, start = model.network.state_dict(), {}, 0
    for name in model.info.model_cfg.get("members", [""]):
        prefix = _prefix(name)
        if f"{prefix}{_FC}" not in weights or f"{prefix}{_NORM}.running_mean" not in weights:
            raise UserError(
                f"{model.info.name}: {name or model.info.model_cfg['model']} has no separate FCs before BNNecks, into "
                f"which whitening is folded"
            )
        parts[name] = slice(start, start + len(weights[f"{prefix}{_FC}"]))
        start = parts[name].stop
    return weights, parts


def _prefix(member: str) -> str:
    return f"members.{member}." if member else ""


def weigh_parts(model: PretrainedModel, part_weights: Sequence[float]) -> dict[str, Any]:
    """Return a model's configuration, whose BNNecks scale each part by its weight in distances.

    The parts of an ensemble are those of its members, one after the other; weights are relative to a member's others.

    Raises:
        UserError: the network has no separate FCs followed by BNNecks, or the number of weights is not that of parts.
    """
    parts = _foldable(model)[1]
    try:
        check_part_weights("--part-weights", part_weights, max(section.stop for section in parts.values()))
    except ValueError as error:
        raise UserError(str(error)) from None
    config = copy.deepcopy(model.info.training["config"])
    for name, section in parts.items():
        network = config["model_cfg"]["members"][name] if name else config["model_cfg"]
        network["SeparateBNNecks"]["part_weights"] = list(part_weights[section])
    return config


def whitened(
    model: PretrainedModel, store: Store, indices: Sequence[int], by: str = "people"
) -> dict[str, torch.Tensor]:
    """Return a model's weights, float32, whose feature `after_neck` is whitened by sequences of a store.

    Args:
        indices: indices of the sequences: several of each of many people, who are not test ids.
        by: `people`, or `views`, for which ids do not matter.

    Raises:
        UserError: the network has no separate FCs followed by BNNecks, or there are too few people, views or sequences.
    """
    weights, parts = _foldable(model)
    weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
    embedding_model = PretrainedModel(model.network, dataclasses.replace(model.info, feature="embeddings"))
    column, whitening = (2, between_view_whitening) if by == "views" else (0, within_class_whitening)
    classes = np.array([store.table.key(index)[column] for index in indices])
    mean, matrix = whitening(embed_stored(embedding_model, store, indices), classes)
    for name, section in parts.items():
        fold(weights, mean[section], matrix[section], _prefix(name))
    return weights


def within_class_whitening(features: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (P, C) and symmetric matrices (P, C, C), float64, that whiten features (N, C, P) of ids (N,).

    The within-person covariance of (x - mean) @ matrix is a multiple of the identity, up to shrinkage, and the mean
    squared length is that of x - mean.

    Raises:
        UserError: fewer than two people, or nobody has two sequences.
    """
    people, codes, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise UserError(f"whitening needs several sequences of several people, not {len(ids)} of {len(people)}")
    x, means = _class_means(features, codes)
    return _whitening(x, x - means[:, codes], SHRINKAGE["people"])


def between_view_whitening(features: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the matrices of a whitening by the covariance between the means of the views (N,).

    Each view should have been seen by the same people, or by many. As in :func:`within_class_whitening`.

    Raises:
        UserError: fewer than two views.
    """
    names, codes = np.unique(views, return_inverse=True)
    if len(names) < 2:
        raise UserError(f"whitening by views needs several views, not only {names[0]}")
    x, means = _class_means(features, codes)
    return _whitening(x, means - means.mean(1, keepdims=True), SHRINKAGE["views"])


def _class_means(features: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, C, P) as (P, N, C), float64, and the means of their classes, (P, K, C)."""
    x = np.moveaxis(features.astype(np.float64), 2, 0)
    return x, np.stack([x[:, codes == code].mean(1) for code in range(codes.max() + 1)], 1)


def _whitening(x: np.ndarray, deviations: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of x (P, N, C) and the matrices that whiten the covariance of deviations (P, M, C)."""
    mean = x.mean(1)
    covariance = np.einsum("pni,pnj->pij", deviations, deviations) / deviations.shape[1]
    mean_variance = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / x.shape[2]
    values, vectors = np.linalg.eigh(covariance + shrinkage * mean_variance * np.eye(x.shape[2]))
    matrix = np.einsum("pik,pk,pjk->pij", vectors, values**-0.5, vectors)
    centred = x - mean[:, None]
    growth = (np.einsum("pni,pij->pnj", centred, matrix) ** 2).sum((1, 2)) / (centred**2).sum((1, 2))
    return mean, matrix / np.sqrt(growth)[:, None, None]


def fold(weights: dict[str, torch.Tensor], mean: np.ndarray, matrix: np.ndarray, prefix: str = "") -> None:
    """Fold a whitening into the weights of a network, in place; `prefix` is that of their names.

    The separate FCs then output x @ matrix, and the BNNecks (x - mean) @ matrix, normalised to unit length. The class
    head is not valid any more.
    """
    fc_name, norm = f"{prefix}{_FC}", f"{prefix}{_NORM}"
    fc = weights[fc_name].double() @ torch.from_numpy(matrix)
    weights[fc_name] = fc.float()
    centre = np.einsum("pi,pij->jp", mean, matrix).reshape(-1)  # in the order of the BatchNorm: c * P + p
    for name, value in {"weight": 1.0, "bias": 0.0, "running_var": 1.0}.items():
        weights[f"{norm}.{name}"] = torch.full_like(weights[f"{norm}.{name}"], value)
    weights[f"{norm}.running_mean"] = torch.from_numpy(centre).float()
