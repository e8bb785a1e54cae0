"""Datasets: stores, partitions, samplers, frame sampling, transforms and batches."""

from dygait.data import augmentation, part_augmentation
from dygait.data.samplers import SAMPLERS
from dygait.data.transforms import TRANSFORMS
