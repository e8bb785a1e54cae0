"""Data: the index of a dataset, its stores, partitions, samplers, frame choice, transforms and batches."""

from dygait.data.collate import Batch, collate
from dygait.data.dataset import Request, Sample, SequenceDataset
from dygait.data.frames import FrameSampler
from dygait.data.loader import batches, make_loader
from dygait.data.partition import Partition, coverage, load_partition
from dygait.data.samplers import SAMPLERS, InferenceSampler, TripletSampler
from dygait.data.sequences import Sequence, SequenceIndex, load_index
from dygait.data.stores import read_pickle
from dygait.data.transforms import TRANSFORMS, build_transform, transform_problems

__all__ = [
    "SAMPLERS",
    "TRANSFORMS",
    "Batch",
    "FrameSampler",
    "InferenceSampler",
    "Partition",
    "Request",
    "Sample",
    "Sequence",
    "SequenceDataset",
    "SequenceIndex",
    "TripletSampler",
    "batches",
    "build_transform",
    "collate",
    "coverage",
    "load_index",
    "load_partition",
    "make_loader",
    "read_pickle",
    "transform_problems",
]
