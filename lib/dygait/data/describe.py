"""A summary of a dataset, as text and as a picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from dygait.data.stores import PackedStore, PickleTree, RenderedStore, Store
from dygait.files import replacing, write_errors
from dygait.frames.modalities import brightest_channel
from dygait.synthetic.walker import FRAME

_BAR = 40


def describe(store: Store) -> str:
    """Return a summary of ids, types, views and lengths: in frames or, for a tree of pickles, in bytes."""
    table, every_index = store.table, np.arange(len(store.table))
    packed = isinstance(store, PackedStore)
    kind = "SynGait, rendered:" if isinstance(store, RenderedStore) else "packed store" if packed else "tree of pickles"
    lines = [
        f"{kind} {store.settings.address if isinstance(store, RenderedStore) else store.root}",
        f"{len(table)} sequences of {len(table.ids.names)} ids, fingerprint {store.fingerprint}",
    ]
    if isinstance(store, PackedStore):
        sizes = ", ".join(f"{h}x{w}" for h, w in store.manifest.geometries)
        total = sum(store.manifest.shards) / 2**20
        lines.append(f"{store.manifest.frames} frames of {sizes}, {total:.0f} MiB; from {store.manifest.source}")
    if store.empty:
        lines.append(f"{store.empty} sequence folders hold no pickle")
    for title, column in (("types", table.types), ("views", table.views)):
        counts = Counter(column.take(every_index))
        shown = ", ".join(f"{name} ({counts[name]})" for name in list(column.names)[:24])
        more = f", and {len(column.names) - 24} more" if len(column.names) > 24 else ""
        lines.append(f"{len(column.names)} {title}: {shown}{more}")
    if isinstance(store, RenderedStore):
        settings = store.settings
        lines.append(f"{settings.train_ids} ids for training, {settings.test_ids} for testing, seed {settings.seed}")
        fewest, most = settings.frames
        size = f"{fewest} to {most} of {FRAME}x{FRAME}, fewer if a fast subject leaves the picture"
        return "\n".join([*lines, f"frames of a sequence: {size}"])
    if isinstance(store, PickleTree):
        lengths = np.array([sizes[0] for sizes in store.file_sizes])
    else:
        lengths = store.lengths(every_index)
    extent = f"fewest {lengths.min()}, median {int(np.median(lengths))}, most {lengths.max()}"
    lines.append(f"{'frames' if packed else 'bytes'} of a sequence: {extent}")
    return "\n".join([*lines, *_histogram(lengths)])


def _histogram(lengths: np.ndarray) -> list[str]:
    counts, edges = np.histogram(lengths, bins=min(10, int(lengths.max() - lengths.min()) + 1))
    width = len(str(int(edges[-1])))
    lines = []
    for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        bar = "#" * round(_BAR * count / counts.max())
        lines.append(f"  {int(np.ceil(low)):>{width}} to {int(np.floor(high)):>{width}}  {bar:<{_BAR}} {count}")
    return lines


def save_contact_sheet(store: Store, path: Path, rows: int = 12, columns: int = 16) -> None:
    """Save a PNG file with a row of frames for each of evenly spaced sequences; `UserError` if it cannot be written."""
    indices = np.unique(np.linspace(0, len(store.table) - 1, rows).round().astype(int))
    strips = []
    for index in indices.tolist():
        frames = store.read(index)
        shown = brightest_channel(frames[np.linspace(0, len(frames) - 1, columns).round().astype(int)])
        strip = cv2.copyMakeBorder(np.hstack(list(shown)), 18, 2, 2, 2, cv2.BORDER_CONSTANT, value=60)
        label = f"{'/'.join(store.table.key(index))}  {len(frames)} frames {'x'.join(map(str, frames.shape[1:]))}"
        cv2.putText(strip, label, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1, cv2.LINE_AA)
        strips.append(strip)
    widest = max(strip.shape[1] for strip in strips)
    padded = [cv2.copyMakeBorder(s, 0, 0, 0, widest - s.shape[1], cv2.BORDER_CONSTANT, value=60) for s in strips]
    ok, encoded = cv2.imencode(".png", np.vstack(padded))
    assert ok
    with write_errors(path), replacing(path) as file:
        file.write(encoded.tobytes())
