"""Answers as one HTML page, with the templates of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dygait.files import write_atomically, write_errors
from dygait.identification import answers
from dygait.identification.answers import Identified
from dygait.identification.gallery import Gallery
from dygait.reporting.page import environment, picture

_STRIPS = 3  # nearest people whose silhouettes are shown


def write_page(results: Sequence[Identified], gallery: Gallery, source: str, target: Path) -> None:
    """Write the page of answers; UserError if it cannot be written."""
    text = environment().get_template("identification.html").render(
        title=Path(source).name if Path(source).exists() else source,
        people=len(gallery.names),
        weights=f"{Path(gallery.model.info.name).name} ({gallery.model.info.identity[:12]})",
        results=results,
        gallery=gallery,
        strips=_strips(results, gallery),
        text=answers,
        picture=picture,
        farthest=max((candidate.distance for _, answer in results for candidate in answer.nearest), default=0.0),
    )  # fmt: skip
    with write_errors(f"--page {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text)


def _strips(results: Sequence[Identified], gallery: Gallery) -> dict[str, np.ndarray]:
    """Return the silhouettes of the nearest people that the gallery stores: name -> uint8 (F, H, W)."""
    names = dict.fromkeys(candidate.name for _, answer in results for candidate in answer.nearest[:_STRIPS])
    stored = ((name, gallery.silhouettes(name)) for name in names)
    return {name: frames for name, frames in stored if frames is not None}
