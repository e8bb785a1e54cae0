"""Measuring the responses of a network's branches in sequences of a dataset."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError

from dygait.config import Config
from dygait.data.frame_sampler import FrameSampler
from dygait.data.stores import RenderedStore, Store, open_store
from dygait.data.transforms import Transform
from dygait.deployment.embedding import prepare
from dygait.deployment.pretrained import PretrainedModel, load_pretrained
from dygait.errors import UserError
from dygait.explaining import parts, pictures
from dygait.explaining.cycle import step_phase
from dygait.explaining.energies import MERGED, PHASES, Maps, SequenceEnergies, by_part, summarise
from dygait.logs import progress
from dygait.modeling.branches import branch_energies
from dygait.modeling.dam import DynamicAugmentation
from dygait.reporting.explanation import Explanation
from dygait.runs import sources
from dygait.synthetic.body_parts import PARTS, gait_phase, part_frames

MOST_FRAMES = 90
"""The most frames of a sequence; longer ones are cropped to the middle."""
FEWEST_FRAMES = 2 * MERGED


class Shown(NamedTuple):
    """A sequence with its parts, labelled as in `dygait.explaining.parts`."""

    key: tuple[str, str, str]
    frames: np.ndarray  # uint8 (S, H, W), as stored
    labels: np.ndarray  # uint8 (S, H, W)
    phase: np.ndarray | None  # float (S,), in cycles


def load(source: str) -> PretrainedModel:
    """Load the network of a run's folder, of a checkpoint, or of weights that ship with the package.

    Raises:
        UserError: there are no such weights, they cannot be used, or the network is an ensemble or has no DAM.
    """
    model = load_pretrained(source)
    if members := model.info.model_cfg.get("members"):
        raise UserError(f"{source} is an ensemble: explain one of {', '.join(f'{source}/{name}' for name in members)}")
    if not any(isinstance(module, DynamicAugmentation) for module in model.network.modules()):
        kind = model.info.model_cfg["model"]
        raise UserError(f"{source}: {kind} has no Dynamic Augmentation Module: explain a run of DyGait")
    return model


def choose(model: PretrainedModel, data: str | None, patterns: Sequence[str], count: int) -> tuple[Store, list[int]]:
    """Open a dataset, and choose the sequences to explain.

    Args:
        data: the folder or address of a dataset; None: that on which the network was trained.
        patterns: `<id>/<type>/<view>`, with wildcards; empty: all sequences of the test ids.
        count: the most sequences; if more match, evenly spaced ones are chosen.

    Returns:
        The store and the indices of its sequences.

    Raises:
        UserError: there is no such dataset, or no sequence matches.
    """
    config = _config_of(model) if data is None else None
    store = open_store(config.data_cfg.dataset_root if config is not None else str(data))
    names = ["/".join(key) for key in store.table.all_keys()]
    if patterns:
        indices = [i for i, name in enumerate(names) if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
        if not indices:
            raise UserError(
                f"--sequences {' '.join(patterns)}: {store.root} has none of these names, such as {names[0]}"
            )
    else:
        indices = store.table.indices(_test_ids(config, store)).tolist() or list(range(len(names)))
    positions = np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int))
    return store, [indices[position] for position in positions.tolist()]


def _config_of(model: PretrainedModel) -> Config:
    try:
        return Config.model_validate(model.info.training["config"])
    except ValidationError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{model.info.name}: its configuration is of another version ({reason}); give --data") from None


def _test_ids(config: Config | None, store: Store) -> Collection[str]:
    if config is not None:
        return sources.open_partition(config).test
    return store.settings.partition()["TEST_SET"] if isinstance(store, RenderedStore) else ()


def part_names(store: Store) -> tuple[str, ...]:
    """Return the names of the parts of a store's sequences; the last is the region beyond the silhouette."""
    return (*(PARTS if isinstance(store, RenderedStore) else parts.STRIPS), parts.BEYOND)


def look_at(store: Store, index: int, step: int = 1) -> Shown:
    """Read every `step`-th frame of a sequence with the labels of its parts; UserError if it is too short."""
    key = store.table.key(index)
    stored = store.read(index)
    selected = FrameSampler("all_ordered", frames_all_limit=MOST_FRAMES)(len(stored), np.random.default_rng(0))
    if len(selected) < FEWEST_FRAMES:
        raise UserError(f"{store.location(index)} has {len(stored)} frames: give sequences of {FEWEST_FRAMES} or more")
    frames = np.asarray(stored[selected])
    if not isinstance(store, RenderedStore):
        phase = step_phase(frames)
        return Shown(key, frames[::step], parts.strips(frames[::step]), None if phase is None else phase[::step])
    identifiers = store.settings, int(key[0]), key[1]
    labels = part_frames(*identifiers, key[2], np.asarray(stored[:]))
    selected = selected[::step]
    return Shown(key, frames[::step], labels[selected], gait_phase(*identifiers)[selected])


def explain(
    model: PretrainedModel, store: Store, indices: Sequence[int], films: int
) -> tuple[Explanation, list[pictures.Film]]:
    """Measure the responses of a network's branches in sequences of a store, and draw the first `films` of them.

    Raises:
        UserError: a sequence cannot be read, or its frames do not fit the network.
    """
    names = part_names(store)
    energies: list[SequenceEnergies] = []
    sequences: list[Shown] = []
    pictured: list[pictures.Film] = []
    for index in progress(indices, len(indices), "explaining"):
        sequence = look_at(store, index, model.info.frames_step)
        frames, maps = _respond(model, sequence, store.location(index))
        energies.append(by_part(maps, _coverage(model.transform, sequence, len(names)), sequence.phase))
        sequences.append(sequence)
        if len(pictured) < films:
            pictured.append(pictures.film("/".join(sequence.key), frames, sequence.labels, maps))
    areas = [area for energy in energies for area in energy.areas.values()]
    present = [n for n in range(len(names)) if any(area[n].any() for area in areas)]
    cycle: Literal["gait cycle", "step"] = "gait cycle" if isinstance(store, RenderedStore) else "step"
    return Explanation(
        name=Path(model.info.name).resolve().name,
        iteration=int(model.info.training.get("iteration", 0)),
        data=store.settings.address if isinstance(store, RenderedStore) else str(store.root),
        fingerprint=store.fingerprint,
        sequences=[sequence.key for sequence in sequences],
        parts=[names[n] for n in present],
        known=isinstance(store, RenderedStore),
        cycle=cycle if any(sequence.phase is not None for sequence in sequences) else None,
        phases=PHASES.tolist(),
        dynamic=model.info.model_cfg.get("dynamic", True),
        dams=summarise([energy.of_parts(present) for energy in energies]),
    ), pictured


def _respond(model: PretrainedModel, sequence: Shown, location: str) -> tuple[np.ndarray, Maps]:
    """Return the input of the network for a sequence, uint8 (S, H, W), and the energies of its branches."""
    frames = prepare(model, sequence.frames, location)
    inputs = torch.from_numpy(np.ascontiguousarray(frames)).float() / model.transform.divisor
    energies = branch_energies(model.network, inputs)
    named = {dam.removeprefix("backbone."): branches for dam, branches in energies.items()}
    return frames, {dam: {name: energy.numpy() for name, energy in branches.items()} for dam, branches in named.items()}


def _coverage(transform: Transform, sequence: Shown, count: int) -> np.ndarray:
    """Return the share of each input pixel that each part covers, float (P, S, H, W); the last part is `beyond`."""
    labels = parts.with_surroundings(sequence.labels)
    masks = (np.where(labels == number % count, np.uint8(255), np.uint8(0)) for number in range(1, count + 1))
    return np.stack([transform(mask, np.random.default_rng(0)) for mask in masks]) / 255.0
