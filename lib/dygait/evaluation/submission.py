"""Rankings for GREW's evaluation server, which alone knows who its probes are.

The server's format (GREW-Benchmark's own baseline, and OpenGait's): a CSV with the header ``videoId,rank1,...,rank20``
and a row per probe sequence: its name, then the ids of its 20 nearest gallery *sequences*, nearest first, as plain
integers. An id of which two sequences are near is listed twice, as there: listing distinct ids would raise rank-5 to
rank-20 beyond what the published numbers mean. The CSV goes up zipped.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dygait.errors import UserError
from dygait.evaluation.distances import DEFAULT_MAX_BYTES, distance_blocks
from dygait.evaluation.protocols import GREW_SUBMISSION
from dygait.evaluation.sequences import Sequences


def write_grew_submission(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    path: str | Path,
    metric: str = "euc",
    device: torch.device | str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> tuple[Path, Path]:
    """Write GREW's submission, and the same zipped beside it.

    Rows are sorted by the probe's name; equal distances keep the gallery's order. Both files appear whole or not at
    all, and the same features give the same bytes.

    Args:
        features: (N, C, P) of the test ids and the probes.
        ids: N subjects; ``probe`` for the probes.
        types: N types: ``01`` and ``02`` the gallery, ``03`` the probes.
        views: N sequence names, which are the probes' ``videoId``.
        path: the CSV, ``.../submission.csv``; its folder is made if need be.
        metric: the distance: ``euc`` or ``cos``.
        device: where distances are computed; None stands for where the features are.
        max_bytes: bound of the working memory of a block of distances.

    Returns:
        The paths of the CSV and of the zip.

    Raises:
        UserError: no probes, two probes of one name, fewer than 20 gallery sequences, or a gallery id that is not a
        number.
    """
    sequences = Sequences.checked(features, ids, types, views)
    probes = np.flatnonzero(sequences.select(GREW_SUBMISSION.probes))
    gallery = np.flatnonzero(sequences.select(GREW_SUBMISSION.gallery))
    ranks, wanted = GREW_SUBMISSION.ranks, GREW_SUBMISSION.words
    if not len(probes) or len(gallery) < ranks:
        raise UserError(
            f"GREW submission: {len(probes)} probes and {len(gallery)} gallery sequences in the data; "
            f"it takes at least 1 and {ranks} ({wanted})"
        )
    probes = probes[np.argsort(sequences.views[probes], kind="stable")]
    names: list[str] = sequences.views[probes].tolist()
    if len(set(names)) != len(names):
        twice = next(a for a, b in pairwise(names) if a == b)
        raise UserError(f"GREW submission: two probes are called {twice!r}; each needs a name of its own")
    subjects = sequences.ids[gallery]
    odd = next((s for s in subjects.tolist() if not s.isdecimal()), None)
    if odd is not None:
        raise UserError(f"GREW submission: the gallery id {odd!r} is not a number; the server expects 00001..06000")

    numbers = subjects.astype(np.int64)
    lines = [",".join(["videoId", *(f"rank{k}" for k in range(1, ranks + 1))])]
    blocks = distance_blocks(
        sequences.features,
        sequences.features,
        metric,
        max_bytes,
        device,
        torch.from_numpy(probes),
        torch.from_numpy(gallery),
    )
    for rows, distance in blocks:
        nearest = distance.argsort(dim=1, stable=True)[:, :ranks].cpu().numpy()
        for name, listed in zip(names[rows], numbers[nearest], strict=True):
            lines.append(",".join([name, *map(str, listed)]))
    text = ("\n".join(lines) + "\n").encode()

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = path.with_suffix(".zip")
    _write_atomically(path, text)
    _write_atomically(packed, _zipped(path.name, text))
    return path, packed


def _zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(name)  # dated 1980: the same content gives the same bytes
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
