"""Benchmark of the loader, on a packed store and on a tree of pickles, against the plain form.

The plain form, as OpenGait and its descendants load data: a worker unpickles a sequence whole; the batch is made of
lists of single frames; the main process stacks, cuts and scales them to float64, sequence by sequence, augments frame
by frame, and converts the batch to float32. Ours hands the device uint8, which is scaled there; "scaled here" adds the
scaling on this CPU, for a machine without a GPU.

    python scripts/benchmark_data.py                      # makes 528 sequences of about 80 frames in a temporary folder
    python scripts/benchmark_data.py --data PICKLES       # uses a tree of pickles, such as CASIA-B's
    python scripts/benchmark_data.py --index 1000000      # how long an index of so many sequences takes to open
    python scripts/benchmark_data.py --json FILE          # {"ratios": ..., "details": ..., "environment": ...}

SynGait without files (``syngait://``) is compared with rendering complete pictures of walks that are sampled anew for
every view, and normalising them like real ones; the preset `wild` has no such form.

30 frames of each sequence, batches of 8 people x 16 sequences, the page cache warm. Every figure is the median of
alternating repeats; a ratio is the plain form's time over ours, so that larger is better.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from common import ROOT, WholePickles, ratio, write_figures, write_sequence
from dygait.data.dataset import Request, SequenceDataset
from dygait.data.frame_sampler import FrameSampler
from dygait.data.loader import make_loader
from dygait.data.packing import pack
from dygait.data.samplers import TripletSampler
from dygait.data.stores import PackedStore, PickleTree, Store, open_store
from dygait.data.stores.packed_format import ROW
from dygait.data.stores.packed_writer import write_index
from dygait.data.stores.rendered import RenderedStore
from dygait.data.transforms import build_transform
from dygait.frames.normalisation import normalise_silhouette
from dygait.synthetic.walker import draw_subject, render_sequence, walk

FRAMES, PEOPLE, EACH = 30, 8, 16
RENDERED = "syngait://?seed=0&train_ids=300&test_ids=0&frames=40"
WILD = RENDERED.replace("://", "://wild")
WARM = 12
LONGER = 5
"""How many times more batches the fast loaders are measured on, as a tenth of a second is too short for a rate."""
CUT, ROTATE, ERASE = 10, (0.3, 10), (0.3, 0.05, 0.2, 0.3)
PLAIN = [{"type": "BaseSilCuttingTransform"}]
AUGMENTED = [
    *PLAIN,
    {"type": "RandomRotate", "prob": ROTATE[0], "degree": ROTATE[1]},
    {"type": "RandomErasing", "prob": ERASE[0], "sl": ERASE[1], "sh": ERASE[2], "r1": ERASE[3]},
]
"""GaitBase's augmentation on CASIA-B (Fan et al., *OpenGait: Revisiting Gait Recognition Toward Better Practicality*,
CVPR 2023)."""
RNG = np.random.default_rng(0)

Batches = Callable[[int], Iterator[Any]]


def lists_of_frames(items: list[tuple[np.ndarray, Request]]) -> list[list[np.ndarray]]:
    """The plain form's collation: thirty frames of each sequence, in lists."""
    batch = []
    for frames, _ in items:
        start = RNG.integers(0, max(1, len(frames) - FRAMES + 1))
        batch.append([frames[(start + i) % len(frames)] for i in range(FRAMES)])
    return batch


def scale_plainly(frames: list[np.ndarray], augment: bool) -> np.ndarray:
    """The plain form's transform: float64 in the main process, and augmentation frame by frame."""
    cut = np.asarray(frames)[..., CUT:-CUT] / 255.0
    if not augment:
        return cut
    _, height, width = cut.shape
    if RNG.random() < ROTATE[0]:
        degree = RNG.uniform(-ROTATE[1], ROTATE[1])
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degree, 1)
        cut = np.concatenate([cv2.warpAffine(frame, matrix, (width, height))[None] for frame in cut])
    if RNG.random() < ERASE[0]:
        area = RNG.uniform(ERASE[1], ERASE[2]) * height * width
        aspect = RNG.uniform(ERASE[3], 1 / ERASE[3])
        h, w = min(round((area * aspect) ** 0.5), height - 1), min(round((area / aspect) ** 0.5), width - 1)
        top, left = RNG.integers(0, height - h), RNG.integers(0, width - w)
        erased = []
        for frame in cut:
            frame[top : top + h, left : left + w] = 0
            erased.append(frame[None])
        cut = np.concatenate(erased)
    return cut


def field(tree: PickleTree, sampler: Callable[[int], TripletSampler], workers: int, augment: bool) -> Batches:
    """Return a function that yields batches in the plain form."""
    dataset = WholePickles([tree.location(index) for index in range(len(tree.table))])

    def run(count: int) -> Iterator[Any]:
        loader = DataLoader(
            dataset, batch_sampler=sampler(count), collate_fn=lists_of_frames, num_workers=workers
        )  # fmt: skip
        for batch in loader:
            stacked = np.asarray([scale_plainly(frames, augment) for frames in batch])
            yield torch.from_numpy(stacked).float()

    return run


def ours(
    store: Store, sampler: Callable[[int], TripletSampler], workers: int, augment: bool, scale: bool = False
) -> Batches:
    """Return a function that yields our batches; `scale`: scale them to 0..1 on this CPU."""
    dataset = SequenceDataset(
        store,
        np.arange(len(store.table)),
        list(store.table.ids.names),
        FrameSampler("fixed_ordered", frames_num_fixed=FRAMES),
        [build_transform(AUGMENTED if augment else PLAIN)],
    )

    def run(count: int) -> Iterator[Any]:
        for batch in make_loader(dataset, sampler(count), workers, False):
            yield batch.silhouettes.float() / 255 if scale else batch.silhouettes

    return run


def rate(batches: Batches, count: int) -> float:
    """Return sequences a second, without the first batches (start of the workers, allocation of memory)."""
    stream = batches(count + WARM)
    for _ in range(WARM):
        next(stream)
    start = time.perf_counter()
    sequences = sum(len(batch) for batch in stream)
    return sequences / (time.perf_counter() - start)


def bytes_read(tree: PickleTree, store: PackedStore, sampler: TripletSampler) -> tuple[float, float]:
    """Return the bytes read per sequence by the plain form and by ours, averaged over some batches.

    Ours are the complete pages of the mapped file that contain the chosen frames.
    """
    page, frames = os.sysconf("SC_PAGE_SIZE"), FrameSampler("fixed_ordered", frames_num_fixed=FRAMES)
    plain_bytes, our_bytes, count = 0, 0, 0
    for batch in sampler:
        for request in batch:
            plain_bytes += Path(tree.location(request.sequence)).stat().st_size
            row = store.rows[request.sequence]
            size = int(row["height"]) * int(row["width"])
            chosen = frames(int(row["frames"]), np.random.default_rng(request.key))
            starts = int(row["offset"]) + chosen * size
            pages = {p for s in starts.tolist() for p in range(s // page, (s + size - 1) // page + 1)}
            our_bytes += len(pages) * page
            count += 1
    return plain_bytes / count, our_bytes / count


def make_tree(root: Path) -> None:
    """Write PEOPLE x 6 people x 11 sequences of 60 to 100 frames 64x64 with an ellipse."""
    rng = np.random.default_rng(0)
    for person in range(6 * PEOPLE):
        for view in range(11):
            frames = np.zeros((int(rng.integers(60, 101)), 64, 64), np.uint8)
            for frame in frames:
                cv2.ellipse(frame, (32, 32), (int(rng.integers(8, 14)), 30), 0, 0, 360, 255, -1)
            write_sequence(root, f"{person:03d}", "nm-01", f"{18 * view:03d}", frames)


def measure(tree: PickleTree, store: PackedStore, repeats: int, batches: int) -> dict[str, Any]:
    """Measure everything, alternating."""
    labels = tree.table.ids.codes.tolist()

    def sampler(count: int) -> TripletSampler:
        return TripletSampler(labels, [PEOPLE, EACH], total_iterations=count)

    loaders = {
        f"{name}, {'augmented' if augment else 'plain'}, {workers} workers": make(
            source, sampler, workers, augment
        )
        for workers in (0, 2)
        for augment in (False, True)
        for name, make, source in (("field", field, tree), ("pickles", ours, tree), ("store", ours, store))
    }  # fmt: skip
    loaders["store, plain, 0 workers, scaled here"] = ours(store, sampler, 0, False, scale=True)
    measured: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(repeats):
        for name, loader in loaders.items():
            measured[name].append(rate(loader, batches if name.startswith("field") else LONGER * batches))
    rates = {name: round(statistics.median(values), 1) for name, values in measured.items()}
    theirs, mine = bytes_read(tree, store, sampler(20))

    ratios = {
        f"{kind}_{n}w": ratio(measured[f"store, {kind}, {n} workers"], measured[f"field, {kind}, {n} workers"])
        for kind, n in (("plain", 0), ("plain", 2), ("augmented", 0))
    }
    ratios["bytes_read"] = round(theirs / mine, 2)
    workers_gain = {
        kind: ratio(*(measured[f"store, {kind}, {n} workers"] for n in (2, 0))) for kind in ("plain", "augmented")
    }
    details = {
        "sequences_per_second": rates,
        "bytes_per_sequence": {"field": round(theirs), "store": round(mine)},
        "two_workers_over_none": workers_gain,
    }
    return {"ratios": ratios, "details": details}


def measure_rendering(repeats: int) -> dict[str, Any]:
    """Measure how many sequences of 40 frames are rendered per second of one process, alternating."""
    store, wild = open_store(RENDERED), open_store(WILD)
    assert isinstance(store, RenderedStore)
    samplers = (
        TripletSampler(source.table.ids.codes.tolist(), [PEOPLE, EACH], total_iterations=repeats + 1)
        for source in (store, wild)
    )

    def plain(index: int) -> None:
        subject, kind, view = store.table.key(index)
        draw_subject.cache_clear()
        figure = walk.__wrapped__(store.settings, int(subject), kind)
        for picture in render_sequence(store.settings, int(subject), kind, view, figure):
            normalise_silhouette(picture)

    rates: dict[str, list[float]] = collections.defaultdict(list)

    def add(name: str, render: Callable[[int], Any], indices: Sequence[int]) -> None:
        start = time.perf_counter()
        for index in indices:
            render(index)
        rates[name].append(len(indices) / (time.perf_counter() - start))

    for repeat, (batch, wild_batch) in enumerate(zip(*samplers, strict=True)):
        person, wild_person = (range(many * repeat, many * (repeat + 1)) for many in (110, len(wild.table) // 300))
        add("in_order", lambda index: np.asarray(store.read(index)), person)
        add("pictures", plain, person)
        add("sampled", lambda index: np.asarray(store.read(index)), [request.sequence for request in batch])
        add("wild_in_order", lambda index: np.asarray(wild.read(index)), wild_person)
        add("wild_sampled", lambda index: np.asarray(wild.read(index)), [request.sequence for request in wild_batch])
    # The first repeat is a warm-up.
    rates = {name: values[1:] for name, values in rates.items()}
    return {
        "ratios": {"render": ratio(rates["in_order"], rates["pictures"])},
        "details": {
            "rendered_per_second": {name: round(statistics.median(values), 1) for name, values in rates.items()}
        },
    }


_OPEN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from dygait.data.stores import PackedStore
from dygait.machine import peak_memory
before, start = peak_memory(), time.perf_counter()
store = PackedStore(sys.argv[2])
seconds = time.perf_counter() - start
print(f"{len(store.table)} sequences: {seconds:.3f} s, {(peak_memory() - before) / 2**20:.0f} MiB")
"""


def make_index(root: Path, count: int) -> None:
    """Write a store of one pixel for each sequence, whose views and file names are all different."""
    rows = np.zeros(count, ROW)
    numbers = np.arange(count)
    rows["id"], rows["type"], rows["view"], rows["name"], rows["offset"] = (
        numbers // 50, numbers // 5 % 10, numbers, numbers, numbers,
    )  # fmt: skip
    rows["frames"] = rows["height"] = rows["width"] = 1
    root.mkdir()
    (root / "frames-00000.bin").write_bytes(bytes(count))
    names = {
        "id": [f"{number:06d}" for number in range(-(-count // 50))],
        "type": [f"{number:02d}" for number in range(10)],
        "view": [f"view-{number:08d}" for number in range(count)],
        "name": [f"view-{number:08d}.pkl" for number in range(count)],
    }
    write_index(root, rows, names, [count], 1, "a benchmark")


def time_opening(store: Path) -> str:
    """Open a store in a separate process, and return the time and the memory that it takes."""
    command = [sys.executable, "-c", _OPEN, str(ROOT / "lib"), str(store)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Sequences a second of our loader, against the plain form.")
    parser.add_argument("--data", type=Path, help="a tree of pickles; left out, one is made")
    parser.add_argument("--store", type=Path, help="the same, packed; left out, it is packed in a temporary folder")
    parser.add_argument("--repeats", type=int, default=5, help="alternating repeats (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=30, help="batches of a repeat (default: %(default)s)")
    parser.add_argument("--index", type=int, metavar="N", help="only open an index of so many sequences")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if options.index:
            make_index(Path(scratch) / "index", options.index)
            print(time_opening(Path(scratch) / "index"))
            return 0
        root, packed = options.data, options.store
        if root is None:
            root = Path(scratch) / "pickles"
            make_tree(root)
        if packed is None:
            packed = Path(scratch) / "store"
            pack(root, packed)
        tree, store = open_store(root), PackedStore(packed)
        assert isinstance(tree, PickleTree), f"{root} is no tree of pickles"
        assert store.table.all_keys() == tree.table.all_keys(), f"{packed} does not hold the sequences of {root}"
        print(f"opening the index of {time_opening(packed)}")
        result = measure(tree, store, options.repeats, options.batches)
    rendering = measure_rendering(options.repeats)
    result = {part: {**result[part], **rendering[part]} for part in ("ratios", "details")}
    for name, value in result["details"]["sequences_per_second"].items():
        print(f"{name:40} {value:10.1f} sequences/s")
    for name, value in result["details"]["rendered_per_second"].items():
        print(f"SynGait, {name:31} {value:10.1f} sequences of 40 frames/s")
    for name, value in result["details"]["bytes_per_sequence"].items():
        print(f"{name:40} {value:10d} bytes read for a sequence")
    for name, value in result["ratios"].items():
        print(f"{name:40} {value:10.2f} times")
    write_figures(options.json, result, opencv=cv2.__version__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
