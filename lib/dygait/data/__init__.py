"""Datasets: stores, partitions, samplers, frame sampling, transforms and batches."""

from dygait.data import augmentation
from dygait.data.collate import Batch, collate
from dygait.data.dataset import Request, Sample, SequenceDataset
from dygait.data.frames import FrameSampler
from dygait.data.loader import batches, make_loader, working
from dygait.data.partition import Partition, coverage, load_partition
from dygait.data.samplers import SAMPLERS, InferenceSampler, TrainingSampler, TripletSampler
from dygait.data.sequences import Column, SequenceTable
from dygait.data.stores import PackedStore, PackedWriter, PickleTree, Store, open_store, read_pickle
from dygait.data.transforms import TRANSFORMS, build_transform, transform_problems

__all__ = [
    "SAMPLERS",
    "TRANSFORMS",
    "Batch",
    "Column",
    "FrameSampler",
    "InferenceSampler",
    "PackedStore",
    "PackedWriter",
    "Partition",
    "PickleTree",
    "Request",
    "Sample",
    "SequenceDataset",
    "SequenceTable",
    "Store",
    "TrainingSampler",
    "TripletSampler",
    "augmentation",
    "batches",
    "build_transform",
    "collate",
    "coverage",
    "load_partition",
    "make_loader",
    "open_store",
    "read_pickle",
    "transform_problems",
    "working",
]
