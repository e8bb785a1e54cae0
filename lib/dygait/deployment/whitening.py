"""Whitening: labelled sequences tell which directions of the features differ within a person, and those count less.

Within-class covariance normalisation (Hatch et al., *Within-class Covariance Normalization for SVM-based Speaker
Recognition*, Interspeech 2006), for each part of its own, with centring and the cosine. It is linear, so it is folded
into the separate FCs and into the BatchNorm of the BNNecks, whose unit-length output is compared then. No gradient is
computed: it takes as long as a test.

N sequences, C channels, P parts.
"""

from __future__ import annotations

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

SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity; 0.01 to 1 give nearly the same
_FC, _NORM = "fcs.fc_bin", "necks.bn1d"


def training_sequences(model: PretrainedModel, root: str | None, count: int) -> tuple[Store, list[int]]:
    """Open at most `count` sequences, evenly spaced, of a dataset's training ids; None: the dataset of the weights.

    Raises:
        UserError: the weights do not say what they were trained on, or there are no such data.
    """
    data = model.info.training["config"]["data_cfg"]
    partition = data.get("dataset_partition") if root is None else None
    root = data.get("dataset_root") if root is None else root
    if not isinstance(root, str):
        raise UserError(f"{model.info.name} was trained on several datasets: name one with --data")
    store, indices = labelled_sequences(root, "train", data["dataset_name"], partition)
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return store, [indices[n] for n in chosen]


def write_whitened(
    model: PretrainedModel,
    store: Store,
    indices: Sequence[int],
    target: Path,
    part_weights: Sequence[float] | None = None,
) -> None:
    """Write a model's weights, whitened by sequences of a store, with what they say of themselves.

    Args:
        part_weights: how much each part is to count in a distance; absent: all equally.

    Raises:
        UserError: as `whitened`; the file is not called *.safetensors; or there are not as many weights as parts.
    """
    if target.suffix != published.SUFFIX:
        raise UserError(f"{target}: weights are written to a file *{published.SUFFIX}")
    training = model.info.training
    config = training["config"]
    if part_weights is not None:
        config = weigh_parts(config, part_weights, len(_foldable(model)[_FC]))
    weights = whitened(model, store, indices)
    head = getattr(model.network, "class_head", ())
    evaluator = {**config["evaluator_cfg"], "feature": "after_neck"}
    data = store.settings.address if isinstance(store, RenderedStore) else Path(store.root).name
    record = {
        **training,
        "config": {**config, "evaluator_cfg": evaluator},
        "whitened": {"data": data, "sequences": len(indices)},
        "frame_rate": model.info.frame_rate,
        "input_size": model.info.input_size,
    }
    published.write(target, {name: tensor for name, tensor in weights.items() if name not in head}, record)


def _foldable(model: PretrainedModel) -> dict[str, torch.Tensor]:
    """Return the weights of a model with separate FCs before BNNecks."""
    weights = model.network.state_dict()
    if _FC not in weights or f"{_NORM}.running_mean" not in weights:
        kind = model.info.model_cfg["model"]
        raise UserError(f"{model.info.name}: {kind} has no separate FCs before BNNecks, into which whitening is folded")
    return weights


def weigh_parts(config: dict[str, Any], part_weights: Sequence[float], parts: int) -> dict[str, Any]:
    """Return a configuration whose BNNecks let each of P parts count by its weight where features are compared."""
    try:
        check_part_weights("--part-weights", part_weights, parts)
    except ValueError as error:
        raise UserError(str(error)) from None
    network = config["model_cfg"]
    necks = {**network["SeparateBNNecks"], "part_weights": list(part_weights)}
    return {**config, "model_cfg": {**network, "SeparateBNNecks": necks}}


def whitened(model: PretrainedModel, store: Store, indices: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return a model's weights, float32, whose feature `after_neck` is whitened by sequences of a store.

    Args:
        indices: of the sequences, several of each of many people; none of whom should be tested.

    Raises:
        UserError: the network has no separate FCs followed by BNNecks, or too few people or sequences.
    """
    weights = {name: tensor.detach().clone() for name, tensor in _foldable(model).items()}
    plain = PretrainedModel(model.network, dataclasses.replace(model.info, feature="embeddings"))
    ids = np.array([store.table.key(index)[0] for index in indices])
    mean, matrix = within_class_whitening(embed_stored(plain, store, indices), ids)
    fold(weights, mean, matrix)
    return weights


def within_class_whitening(features: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (P, C) and symmetric matrices (P, C, C), float64, that whiten features (N, C, P) of ids (N,).

    (x - mean) @ matrix has the within-person covariance of a multiple of the identity, up to shrinkage, and the mean
    squared length of x - mean.

    Raises:
        UserError: fewer than two people, or nobody has two sequences.
    """
    people, codes, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise UserError(f"whitening needs several sequences of several people, not {len(ids)} of {len(people)}")
    x = np.moveaxis(features.astype(np.float64), 2, 0)  # (P, N, C)
    mean = x.mean(1)
    means = np.stack([x[:, codes == person].mean(1) for person in range(len(people))], 1)
    within = x - means[:, codes]
    covariance = np.einsum("pni,pnj->pij", within, within) / len(ids)
    level = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / x.shape[2]
    values, vectors = np.linalg.eigh(covariance + SHRINKAGE * level * np.eye(x.shape[2]))
    matrix = np.einsum("pik,pk,pjk->pij", vectors, values**-0.5, vectors)
    centred = x - mean[:, None]
    growth = (np.einsum("pni,pij->pnj", centred, matrix) ** 2).sum((1, 2)) / (centred**2).sum((1, 2))
    return mean, matrix / np.sqrt(growth)[:, None, None]


def fold(weights: dict[str, torch.Tensor], mean: np.ndarray, matrix: np.ndarray) -> None:
    """Fold a whitening into the weights of a network, in place.

    Its separate FCs give x @ matrix, and its BNNecks (x - mean) @ matrix in unit length. Their class head does not fit
    any more.
    """
    fc = weights[_FC].double() @ torch.from_numpy(matrix)
    weights[_FC] = fc.float()
    centre = np.einsum("pi,pij->jp", mean, matrix).reshape(-1)  # as the BatchNorm orders it: c * P + p
    running = {"weight": 1.0, "bias": 0.0, "running_var": 1.0}
    for name, value in running.items():
        weights[f"{_NORM}.{name}"] = torch.full_like(weights[f"{_NORM}.{name}"], value)
    weights[f"{_NORM}.running_mean"] = torch.from_numpy(centre).float()
