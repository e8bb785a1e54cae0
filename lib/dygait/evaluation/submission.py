"""Submissions to the servers of GREW and HID, where the ids of the probes are not public.

A submission is a CSV with a row for each probe: its name, then the ids of its nearest gallery *sequences* in order.
GREW's (that of its baseline, and of OpenGait) has the header ``videoId,rank1,...,rank20`` and ids as plain integers. An
id with two near sequences is listed twice, as there: distinct ids would give a higher rank-5 to rank-20 than the
published definition. HID's has the header ``videoID,label`` and the id as the name of the gallery folder. Both are
uploaded as a zip that contains submission.csv.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dygait.errors import UserError
from dygait.evaluation.distances import DEFAULT_MAX_BYTES, distance_blocks
from dygait.evaluation.protocols import Submission
from dygait.evaluation.reranking import ReRank, nearest_k, reranked_blocks
from dygait.evaluation.sequences import Sequences
from dygait.files import replacing


def write_submission(
    submission: Submission,
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    path: str | Path,
    metric: str = "euc",
    device: torch.device | str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    re_rank: ReRank | None = None,
) -> tuple[Path, Path]:
    """Write a submission as CSV, and as zip beside it.

    Rows are sorted by the name of the probe; ties are broken by the order of the gallery. Both files are written
    atomically, and the same features give the same bytes.

    Args:
        submission: a value of `SUBMISSIONS`.
        features: (N, C, P) of gallery and probes.
        ids: N subjects; ``probe`` for the probes.
        types: N types.
        views: N views, which are the names of the probes; if they are not unique, the types are.
        path: the CSV; its folder is created if necessary.
        metric: the distance: ``euc`` or ``cos``.
        device: where distances are computed; None for the device of the features.
        max_bytes: bound of the working memory of a block of distances.
        re_rank: the parameters of re-ranking; None for none.

    Returns:
        The paths of the CSV and of the zip.

    Raises:
        UserError: no probes, two probes with one name, too few gallery sequences, a name with a comma or a quote, or an
            id that is not a number if the server expects numbers.
    """
    sequences = Sequences.checked(features, ids, types, views)
    probes = np.flatnonzero(sequences.select(submission.probes))
    gallery = np.flatnonzero(sequences.select(submission.gallery))
    title = submission.name.replace("/", " ")
    if not len(probes) or len(gallery) < submission.ranks:
        raise UserError(
            f"{title}: {len(probes)} probes and {len(gallery)} gallery sequences in the data; "
            f"required are at least 1 and {submission.ranks} ({submission.description})"
        )
    probes, names = _named(sequences, probes, title)
    subjects: list[str] = sequences.ids[gallery].tolist()
    if submission.numbers:
        odd = next((s for s in subjects if not s.isdecimal()), None)
        if odd is not None:
            raise UserError(f"{title}: the gallery id {odd!r} is not a number; the server expects 00001..06000")
        subjects = [str(int(s)) for s in subjects]
    unfit = next((n for n in (*names, *subjects) if re.search(r'[,"\s]', n)), None)
    if unfit is not None:
        raise UserError(
            f"{title}: the name {unfit!r} contains a comma, a quote or a space, which the CSV cannot represent"
        )

    lines = [",".join(submission.header)]
    rows_of_probes, rows_of_gallery = torch.from_numpy(probes), torch.from_numpy(gallery)
    blocks = (
        distance_blocks(
            sequences.features, sequences.features, metric, max_bytes, device, rows_of_probes, rows_of_gallery
        )
        if re_rank is None
        else reranked_blocks(sequences.features, rows_of_probes, rows_of_gallery, re_rank, metric, max_bytes, device)
    )
    for rows, distance in blocks:
        nearest = nearest_k(distance, submission.ranks).tolist()
        for name, listed in zip(names[rows], nearest, strict=True):
            lines.append(",".join([name, *(subjects[index] for index in listed)]))
    text = ("\n".join(lines) + "\n").encode()

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = path.with_suffix(".zip")
    for target, content in ((path, text), (packed, _zipped("submission.csv", text))):
        with replacing(target) as file:
            file.write(content)
    return path, packed


def _named(sequences: Sequences, probes: np.ndarray, title: str) -> tuple[np.ndarray, list[str]]:
    """Return the probes sorted by name, and the names."""
    columns = (sequences.views[probes], sequences.types[probes])
    names = next((c for c in columns if len(np.unique(c)) == len(c)), columns[0])
    order = np.argsort(names, kind="stable")
    listed: list[str] = names[order].tolist()
    twice = next((a for a, b in pairwise(listed) if a == b), None)
    if twice is not None:
        raise UserError(f"{title}: two probes have the name {twice!r}; names must be unique")
    return probes[order], listed


def _zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(name)  # dated 1980: the same content gives the same bytes
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
