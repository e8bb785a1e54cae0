"""Submissions to the servers of GREW and HID, where the ids of the probes are not public.

A submission is a CSV with a row for each probe: its name, then the ids of its nearest gallery *sequences* in order.
GREW's (that of its baseline, and of OpenGait) has the header ``videoId,rank1,...,rank20`` and ids as plain integers. An
id with two near sequences is listed twice, as there: distinct ids would give a higher rank-5 to rank-20 than the
published definition. HID's has the header ``videoID,label`` and the id as the name of the gallery folder. Both are
uploaded as a zip that contains submission.csv.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import Tensor

from dygait.config.schema import Selector
from dygait.errors import UserError
from dygait.evaluation.comparisons import Options
from dygait.evaluation.reranking import ReRank, blocks_between, nearest_k
from dygait.evaluation.sequences import Sequences
from dygait.files import replacing


@dataclass(frozen=True)
class Submission:
    """A ranking that is scored by a challenge's server, because the ids of the probes are not public."""

    name: str  # as `resolve_protocol` returns it
    description: str  # in one sentence
    gallery: Selector
    probes: Selector  # the name of a probe is its view, or its type if views are not unique
    header: tuple[str, ...]  # of the CSV: the name of the probe, then one for each of its nearest gallery sequences
    numbers: bool = False  # write ids as plain integers (00012 as 12), as the server expects them
    re_rank: ReRank | None = None  # the default parameters of re-ranking; None for none

    @property
    def ranks(self) -> int:
        """The number of nearest gallery sequences listed for a probe."""
        return len(self.header) - 1


GREW_SUBMISSION = Submission(
    name="GREW/submission",
    description="gallery sequences 01 and 02 of the test ids, probes the unlabelled sequences of the id 'probe'",
    gallery=Selector(types=["01", "02"], not_ids=["probe"]),
    probes=Selector(ids=["probe"], types=["03"]),
    header=("videoId", *(f"rank{k}" for k in range(1, 21))),
    numbers=True,
)
HID_SUBMISSION = Submission(
    name="HID/submission",
    description="gallery the sequences of all ids but 'probe', probes the unlabelled sequences of the id 'probe', "
    "re-ranked",
    gallery=Selector(not_ids=["probe"]),
    probes=Selector(ids=["probe"]),
    header=("videoID", "label"),
    re_rank=ReRank(),
)
SUBMISSIONS = {submission.name: submission for submission in (GREW_SUBMISSION, HID_SUBMISSION)}
"""The submissions by name."""


def write_submission(
    submission: Submission,
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    path: str | Path,
    metric: str = "euc",
    options: Options | None = None,
) -> tuple[Path, Path]:
    """Write a submission, a value of `SUBMISSIONS`, as CSV, and as zip beside it; return both paths.

    The first of the arguments are those of `evaluate`. The id of the probes is ``probe``; their names are their views,
    or types if views are not unique. Rows are sorted by the name of the probe; ties are broken by the order of the
    gallery. Both files are written atomically, into a folder that is created if necessary, and the same features give
    the same bytes.

    Raises:
        UserError: no probes, two probes with one name, too few gallery sequences, a name with a comma or a quote, or an
            id that is not a number if the server expects numbers.
    """
    options = options or Options()
    sequences = Sequences.checked(features, ids, types, views)
    probes, names, gallery, subjects = _names(submission, sequences)
    lines = [",".join(submission.header)]
    blocks = blocks_between(
        sequences.features, probes, gallery, options.re_rank, metric, options.max_bytes, options.device
    )
    for rows, distance in blocks:
        nearest = nearest_k(distance, submission.ranks).tolist()
        for name, indices in zip(names[rows], nearest, strict=True):
            lines.append(",".join([name, *(subjects[index] for index in indices)]))
    text = ("\n".join(lines) + "\n").encode()

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text)
    zip_path = path.with_suffix(".zip")
    entry = zipfile.ZipInfo("submission.csv")  # dated 1980: the same content gives the same bytes
    entry.external_attr = 0o644 << 16
    with replacing(zip_path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, text, compress_type=zipfile.ZIP_DEFLATED)
    return path, zip_path


def _names(submission: Submission, sequences: Sequences) -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
    """Return indices and names of the probes, sorted by name, and indices and subjects of the gallery."""
    title = submission.name.replace("/", " ")
    probes = np.flatnonzero(sequences.select(submission.probes))
    gallery = np.flatnonzero(sequences.select(submission.gallery))
    if not len(probes) or len(gallery) < submission.ranks:
        raise UserError(
            f"{title}: {len(probes)} probes and {len(gallery)} gallery sequences in the data; "
            f"required are at least 1 and {submission.ranks} ({submission.description})"
        )
    columns = (sequences.views[probes], sequences.types[probes])
    probe_names = next((c for c in columns if len(np.unique(c)) == len(c)), columns[0])
    order = np.argsort(probe_names, kind="stable")
    names: list[str] = probe_names[order].tolist()
    duplicate = next((a for a, b in pairwise(names) if a == b), None)
    if duplicate is not None:
        raise UserError(f"{title}: two probes have the name {duplicate!r}; names must be unique")
    subjects: list[str] = sequences.ids[gallery].tolist()
    if submission.numbers:
        non_number = next((s for s in subjects if not s.isdecimal()), None)
        if non_number is not None:
            raise UserError(f"{title}: the gallery id {non_number!r} is not a number; the server expects 00001..06000")
        subjects = [str(int(s)) for s in subjects]
    invalid = next((n for n in (*names, *subjects) if re.search(r'[,"\s]', n)), None)
    if invalid is not None:
        raise UserError(
            f"{title}: the name {invalid!r} contains a comma, a quote or a space, which the CSV cannot represent"
        )
    return probes[order], names, gallery, subjects
