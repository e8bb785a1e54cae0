"""The batches of a profile: of the dataset if it exists, else of example silhouettes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dygait.config import Config
from dygait.data.collate import Batch
from dygait.data.loader import batches
from dygait.data.samplers import views_of
from dygait.errors import UserError
from dygait.runs import networks, sources


@dataclass
class Batches:
    """An infinite stream of batches."""

    stream: Iterator[Batch]
    origin: str  # a description of their source
    real: bool  # whether they come from the loader


def batch_size(config: Config) -> tuple[int, int]:
    """Return P, and K times the views of each sequence; a batch of N arbitrary sequences counts as N subjects."""
    sampler = config.trainer_cfg.sampler
    subjects, per_subject = (sampler.batch_size, 1) if isinstance(sampler.batch_size, int) else sampler.batch_size
    return subjects, per_subject * views_of(sampler.type)


def frames_of(config: Config) -> int:
    """Return the number of frames of a training sequence; its maximum if it varies."""
    sampler = config.trainer_cfg.sampler
    fixed = sampler.sample_type.startswith("fixed")
    return sampler.frames_num_fixed if fixed else sampler.frames_num_max


def input_sizes(config: Config) -> list[tuple[int, int]]:
    """Return (H, W) of each modality: the `input_size` of the model, or the output size of the transform for 64x64."""
    modalities, size = config.modalities, config.model_cfg.input_size
    if size is not None:
        return [(size[0], size[1])] * modalities
    sizes = []
    for transform in sources.build_transforms(config.trainer_cfg.transform, modalities):
        height, width = transform(np.zeros((1, 64, 64), np.uint8), np.random.default_rng(0)).shape[-2:]
        sizes.append((height, width))
    return sizes


def example_batch(config: Config, subjects: int, per_subject: int, network: nn.Module) -> Batch:
    """Return a batch of P x K example sequences of moving blocks, with number and size of frames as configured.

    Their channels, all equal, are those of the network, and their labels are below its number of classes.
    """
    channels, classes = getattr(network, "in_channels", 1), getattr(network, "class_num", None)
    rng = np.random.default_rng(0)
    count, frames = subjects * per_subject, frames_of(config)
    inputs = []
    for height, width in input_sizes(config):
        silhouettes = np.zeros((count, frames, height, width), np.uint8)
        for sequence in silhouettes:
            left, thickness = rng.integers(width // 4 + 1), rng.integers(width // 4, width // 2) + 1
            for number, frame in enumerate(sequence):
                shifted = left + number % 3
                frame[height // 10 :, shifted : shifted + thickness] = 255
        blocks = torch.from_numpy(silhouettes)
        inputs.append(blocks if channels == 1 else blocks[:, :, None].repeat(1, 1, channels, 1, 1))
    labels = (torch.arange(subjects) % (classes or subjects)).repeat_interleave(per_subject)
    return Batch(inputs[0], None, labels, torch.arange(count), tuple(inputs[1:]), (255.0,) * len(inputs))


def training_batches(config: Config, device: torch.device, network: nn.Module) -> Batches:
    """Return the batches of the loader, or without a dataset the same example batch, with the reason in `origin`."""
    try:
        data = sources.open_data(config)
    except UserError as error:
        batch = example_batch(config, *batch_size(config), network)
        size = " and ".join(f"{height}x{width}" for height, width in input_sizes(config))
        origin = f"example silhouettes of {size}, no loader ({error})"
        return Batches(itertools.repeat(batch), origin, False)
    networks.check_classes(network, data)
    source = sources.build_training_source(config, data, device, 0)
    stream = itertools.chain.from_iterable(batches(source.loader) for _ in itertools.count())
    origin = f"{len(source.dataset)} sequences of {config.data_cfg.dataset_root}"
    return Batches(stream, origin, True)
