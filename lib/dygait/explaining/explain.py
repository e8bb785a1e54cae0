"""From a run and sequences to where the branches of its network respond."""

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
"""Of a longer sequence as many from the middle are looked at."""
FEWEST_FRAMES = 2 * MERGED


class Shown(NamedTuple):
    """One sequence as it is looked at; its parts are labelled as `dygait.explaining.parts` says."""

    key: tuple[str, str, str]
    frames: np.ndarray  # uint8 (S, H, W), as stored
    labels: np.ndarray  # uint8 (S, H, W)
    phase: np.ndarray | None  # float (S,), in cycles


def load(source: str) -> PretrainedModel:
    """Load the network of a run's folder, of a checkpoint, or of weights that ship.

    Raises:
        UserError: there is none, it cannot be used, or it has no DAM.
    """
    model = load_pretrained(source)
    if not any(isinstance(module, DynamicAugmentation) for module in model.network.modules()):
        kind = model.info.model_cfg["model"]
        raise UserError(f"{source}: {kind} has no Dynamic Augmentation Module: explain a run of DyGait")
    return model


def choose(model: PretrainedModel, data: str | None, patterns: Sequence[str], count: int) -> tuple[Store, list[int]]:
    """Open the sequences to look at.

    Args:
        data: the folder or the address of a dataset; None: that which the network was trained on.
        patterns: `<id>/<type>/<view>`, with wildcards; none: the test ids' sequences.
        count: the most sequences; of more, evenly spaced ones are chosen.

    Returns:
        The store and indices of its sequences.

    Raises:
        UserError: there is no data, or no sequence of these names.
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
    spaced = np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int))
    return store, [indices[position] for position in spaced.tolist()]


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
    """Return the names of the parts that sequences of a store are divided into, the last of them what is beyond."""
    return (*(PARTS if isinstance(store, RenderedStore) else parts.STRIPS), parts.BEYOND)


def look_at(store: Store, index: int, step: int = 1) -> Shown:
    """Read every `step`-th frame of a sequence of a store, divided into parts; UserError if it is too short."""
    key = store.table.key(index)
    stored = store.read(index)
    chosen = FrameSampler("all_ordered", frames_all_limit=MOST_FRAMES)(len(stored), np.random.default_rng(0))
    if len(chosen) < FEWEST_FRAMES:
        raise UserError(f"{store.location(index)} has {len(stored)} frames: give sequences of {FEWEST_FRAMES} or more")
    frames = np.asarray(stored[chosen])
    if not isinstance(store, RenderedStore):
        phase = step_phase(frames)
        return Shown(key, frames[::step], parts.strips(frames[::step]), None if phase is None else phase[::step])
    walked = store.settings, int(key[0]), key[1]
    labels = part_frames(*walked, key[2], np.asarray(stored[:]))
    chosen = chosen[::step]
    return Shown(key, frames[::step], labels[chosen], gait_phase(*walked)[chosen])


def explain(
    model: PretrainedModel, store: Store, indices: Sequence[int], films: int
) -> tuple[Explanation, list[pictures.Film]]:
    """Measure where the branches of a network respond in sequences of a store, and draw the first `films` of them.

    Raises:
        UserError: a sequence cannot be read, or its frames do not fit the network.
    """
    names = part_names(store)
    measured: list[SequenceEnergies] = []
    shown: list[Shown] = []
    drawn: list[pictures.Film] = []
    for index in progress(indices, len(indices), "explaining"):
        one = look_at(store, index, model.info.frames_step)
        frames, maps = _respond(model, one, store.location(index))
        measured.append(by_part(maps, _coverage(model.transform, one, len(names)), one.phase))
        shown.append(one)
        if len(drawn) < films:
            drawn.append(pictures.film("/".join(one.key), frames, one.labels, maps))
    present = [n for n in range(len(names)) if any(area[n].any() for one in measured for area in one.areas.values())]
    cycle: Literal["gait cycle", "step"] = "gait cycle" if isinstance(store, RenderedStore) else "step"
    return Explanation(
        name=Path(model.info.name).resolve().name,
        iteration=int(model.info.training.get("iteration", 0)),
        data=store.settings.address if isinstance(store, RenderedStore) else str(store.root),
        fingerprint=store.fingerprint,
        sequences=[one.key for one in shown],
        parts=[names[n] for n in present],
        known=isinstance(store, RenderedStore),
        cycle=cycle if any(one.phase is not None for one in shown) else None,
        phases=PHASES.tolist(),
        dynamic=model.info.model_cfg.get("dynamic", True),
        dams=summarise([one.of_parts(present) for one in measured]),
    ), drawn


def _respond(model: PretrainedModel, one: Shown, location: str) -> tuple[np.ndarray, Maps]:
    """Return the input of the network for a sequence, uint8 (S, H, W), and the energies of its branches."""
    frames = prepare(model, one.frames, location)
    inputs = torch.from_numpy(np.ascontiguousarray(frames)).float() / model.transform.divisor
    energies = branch_energies(model.network, inputs)
    named = {dam.removeprefix("backbone."): branches for dam, branches in energies.items()}
    return frames, {dam: {name: energy.numpy() for name, energy in own.items()} for dam, own in named.items()}


def _coverage(transform: Transform, one: Shown, count: int) -> np.ndarray:
    """Return the share of each pixel of the input that each part covers, float (P, S, H, W); the last is `beyond`."""
    labels = parts.with_surroundings(one.labels)
    masks = (np.where(labels == number % count, np.uint8(255), np.uint8(0)) for number in range(1, count + 1))
    return np.stack([transform(mask, np.random.default_rng(0)) for mask in masks]) / 255.0
