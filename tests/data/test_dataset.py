"""Samples and batches of requests: independent of the number of workers; errors name the file."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TreeFactory
from dygait.data.collate import Batch, collate
from dygait.data.dataset import Request, Sample, SequenceDataset
from dygait.data.frame_sampler import FrameSampler
from dygait.data.loader import batches, make_loader, working
from dygait.data.samplers import TripletSampler
from dygait.data.stores import open_store, read_pickle
from dygait.data.transforms import build_transform
from dygait.errors import LocalError, UserError

FLIP = [{"type": "RandomHorizontalFlip"}, {"type": "BaseSilCuttingTransform"}]


@pytest.fixture
def root(silhouette_tree: TreeFactory) -> Path:
    return silhouette_tree(size=(8, 64), frames=(3, 9))


def make_dataset(root: Path, kind: str = "unfixed_unordered", **more: Any) -> SequenceDataset:
    store = open_store(root)
    frames = FrameSampler(kind, frames_num_fixed=5, frames_num_min=2, frames_num_max=6)
    cut = [{**FLIP[1], "divisor": divisor} for divisor in (255, 51)]
    transforms = [build_transform([FLIP[0], transform]) for transform in cut[: sum(more.get("data_in_use") or [True])]]
    return SequenceDataset(store, np.arange(len(store.table)), ["001", "002", "003"], frames, transforms, **more)


@pytest.fixture
def two_modalities(root: Path) -> Path:
    """A tree with two files for each sequence, the second the inverse of the first."""
    for path in list(root.rglob("*.pkl")):
        path.with_name("zzz.pkl").write_bytes(pickle.dumps(255 - read_pickle(path)))
    return root


class TestDataset:
    def test_labels_are_indices_in_the_list_of_ids(self, root: Path) -> None:
        dataset = make_dataset(root)
        assert len(dataset) == 16
        assert dataset.labels == [0] * 4 + [1] * 4 + [2] * 4 + [-1] * 4
        sample = dataset[Request(5, (0, 0, 0))]
        assert (sample.label, sample.sequence) == (1, 5)

    def test_a_sample_is_made_of_the_frames_of_its_sequence(self, root: Path) -> None:
        dataset = make_dataset(root, "all_ordered")
        stored = read_pickle(dataset.store.location(3))
        cut, flipped = stored[:, :, 10:54], stored[:, :, 53:9:-1]
        samples = [dataset[Request(3, (0, 0, index))].silhouettes for index in range(20)]
        assert all(sample.dtype == np.uint8 for sample in samples)
        assert {sample.tobytes() for sample in samples} == {cut.tobytes(), flipped.tobytes()}

    def test_a_sample_is_a_pure_function_of_the_request(self, root: Path) -> None:
        first_dataset, second_dataset = make_dataset(root), make_dataset(root)
        results = set()
        for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
            silhouettes = first_dataset[Request(2, key)].silhouettes
            first_dataset[Request(7, (5, 5, 5))]
            assert np.array_equal(second_dataset[Request(2, key)].silhouettes, silhouettes)
            assert np.array_equal(first_dataset[Request(2, key)].silhouettes, silhouettes)
            results.add(silhouettes.tobytes())
        assert len(results) == 4, "seed, iteration and position each matter"

    @pytest.mark.parametrize("mask", [[True, False], [False, True], None])
    def test_one_of_several_files(self, two_modalities: Path, mask: list[bool] | None) -> None:
        dataset = make_dataset(two_modalities, "all_ordered", data_in_use=mask)
        expected = dataset.store.read(0, 1 if mask == [False, True] else 0)[:, :, 10:54]
        assert np.array_equal(np.sort(dataset[Request(0, (0, 0, 0))].silhouettes), np.sort(expected)), "flipped or not"

    @pytest.mark.parametrize("workers", [0, 2])
    def test_modalities_show_the_same_frames_under_the_same_changes(self, two_modalities: Path, workers: int) -> None:
        dataset = make_dataset(two_modalities, data_in_use=[True, True])
        requests = [[Request(p, (0, i, p)) for p in range(6)] for i in range(12)]
        loaded = list(batches(make_loader(dataset, requests, workers, False)))
        assert len(loaded) == 12
        for batch in loaded:
            (second_modality,) = batch.others
            lengths = batch.lengths if batch.lengths is not None else torch.full((6,), batch.silhouettes.shape[1])
            for row, length in enumerate(lengths.tolist()):
                assert (second_modality[row, :length] == 255 - batch.silhouettes[row, :length]).all()
                assert not second_modality[row, length:].any()
            first, second = batch.scaled()
            assert torch.equal(first, batch.silhouettes.float() / 255)
            assert torch.equal(second, second_modality.float() / 51)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_one_transform_stacks_modalities_to_channels(self, two_modalities: Path, workers: int) -> None:
        """The wider one is cropped to the middle columns of the narrower; both are flipped together."""
        for path in two_modalities.rglob("zzz.pkl"):
            path.write_bytes(pickle.dumps(np.stack([read_pickle(path)] * 2, 1)[..., 10:-10]))
        dataset = make_dataset(two_modalities, data_in_use=[True, True])
        dataset.transforms = (build_transform([FLIP[0], {"type": "BaseSilTransform"}]),)
        assert dataset.sizes(0) == [(3, 8, 44)]
        requests = [[Request(p, (0, i, p)) for p in range(6)] for i in range(4)]
        flipped = 0
        for batch in batches(make_loader(dataset, requests, workers, False)):
            assert not batch.others
            lengths = batch.lengths if batch.lengths is not None else torch.full((6,), batch.silhouettes.shape[1])
            for row, (frames, length) in enumerate(zip(batch.silhouettes, lengths.tolist(), strict=True)):
                assert (frames[:length, 1:] == 255 - frames[:length, :1]).all()
                assert not frames[length:].any()
                stored = read_pickle(dataset.store.location(row))[..., 10:54]
                flipped += any((frames[0, 0].numpy() == frame[:, ::-1]).all() for frame in stored)
        assert 0 < flipped < 24

    def test_modalities_of_two_heights_are_not_stacked(self, two_modalities: Path) -> None:
        for path in two_modalities.rglob("zzz.pkl"):
            path.write_bytes(pickle.dumps(read_pickle(path)[:, :6]))
        dataset = make_dataset(two_modalities, data_in_use=[True, True])
        dataset.transforms = dataset.transforms[:1]
        with pytest.raises(UserError, match=r"8x64 and 6x64 .*one height"):
            dataset[Request(0, (0, 0, 0))]

    def test_an_error_of_a_transform_names_the_file(self, root: Path) -> None:
        dataset = make_dataset(root)
        dataset.transforms = (build_transform({"type": "BaseSilCuttingTransform", "cutting": 40}),)
        with pytest.raises(UserError, match=rf"^{root}/001/nm-01/000/000.pkl: cutting 40 columns"):
            dataset[Request(0, (0, 0, 0))]


def sample(frames: int, label: int = 0, sequence: int = 0, size: tuple[int, int] = (3, 2)) -> Sample:
    rng = np.random.default_rng(frames)
    return Sample(rng.integers(1, 256, (frames, *size), dtype=np.uint8), label, sequence)


class TestCollate:
    def test_padding(self) -> None:
        samples = [sample(2, 5, 9), sample(4, 1, 3), sample(1, -1, 0)]
        batch = collate(samples)
        assert collate(samples[:1] * 2).lengths is None
        assert batch.silhouettes.dtype == torch.uint8
        assert batch.silhouettes.shape == (3, 4, 3, 2)
        assert batch.lengths.tolist() == [2, 4, 1]
        assert batch.labels.tolist() == [5, 1, -1]
        assert batch.sequences.tolist() == [9, 3, 0]
        for row, source in zip(batch.silhouettes.numpy(), samples, strict=True):
            assert np.array_equal(row[: len(source.silhouettes)], source.silhouettes)
            assert not row[len(source.silhouettes) :].any()

    def test_different_sizes(self) -> None:
        with pytest.raises(UserError, match=r"different sizes .*\(3, 2\), \(4, 2\)"):
            collate([sample(3), sample(3, size=(4, 2))])

    def test_to_a_device(self) -> None:
        batch = collate([sample(2), sample(3)]).to(torch.device("meta"))
        assert batch.silhouettes.device.type == batch.labels.device.type == "meta"
        assert batch.lengths.device.type == batch.sequences.device.type == "cpu", "the host reads them"


def all_batches(root: Path, workers: int) -> list[Batch]:
    dataset = make_dataset(root)
    sampler = TripletSampler(dataset.labels, [3, 2], seed=1, first_iteration=4, total_iterations=9)
    return list(batches(make_loader(dataset, sampler, workers, pin_memory=False)))


def test_any_number_of_workers_gives_the_same_batches(root: Path) -> None:
    alone = all_batches(root, 0)
    assert len(alone) == 5
    assert not torch.equal(alone[0].sequences, alone[1].sequences)
    for workers in (1, 2):
        actual = all_batches(root, workers)
        assert len(actual) == len(alone)
        for expected_batch, batch in zip(alone, actual, strict=True):
            for name in ("silhouettes", "lengths", "labels", "sequences"):
                expected, value = getattr(expected_batch, name), getattr(batch, name)
                assert (value is None) == (expected is None)
                assert value is None or torch.equal(value, expected), f"{name} with {workers} workers"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_is_raised_here(root: Path, workers: int) -> None:
    for path in root.rglob("*.pkl"):
        path.write_bytes(b"no pickle")
    with pytest.raises(LocalError, match=f"^{root}.* cannot be loaded: .*(S, H, W\\))$") as caught, working():
        all_batches(root, workers)
    assert "\n" not in str(caught.value)
