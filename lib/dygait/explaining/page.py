"""The folder that `dygait explain` writes: a page, its numbers as JSON, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dygait.explaining import pictures
from dygait.files import replacing, write_atomically, write_errors
from dygait.reporting.explanation import FILE, STRIP, Explanation, save_explanation
from dygait.reporting.page import data_uri, environment

PAGE, SHEET = "explain.html", "sheet.png"
_SECONDS = 0.24
"""Duration of a tile in an animation: half the speed of a walk at 25 frames a second."""


def write(explanation: Explanation, films: Sequence[pictures.Film], folder: Path) -> list[Path]:
    """Write the page, JSON and, if there are films, pictures; return the paths. UserError if they cannot be written."""
    images = {SHEET: pictures.sheet(films), STRIP: pictures.summary(films[0])} if films else {}
    with write_errors(folder, "free disk space, or choose another folder with --output"):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (folder / name for name in (SHEET, STRIP) if name not in images):
            stale.unlink(missing_ok=True)
        for name, picture in images.items():
            with replacing(folder / name) as file:
                file.write(pictures.png(picture))
        save_explanation(explanation, folder / FILE)
        write_atomically(folder / PAGE, page(explanation, films))
    return [folder / name for name in (PAGE, FILE, *images)]


def page(explanation: Explanation, films: Sequence[pictures.Film]) -> str:
    """Return the page as HTML: self-contained, without scripts."""
    template = environment().get_template("explain.html")
    return template.render(explanation=explanation, films=films, screen=_screen, seconds=_SECONDS)


def _screen(film: pictures.Film) -> str:
    """Return the frames of an animation, stacked vertically, as the data URI of a PNG."""
    return data_uri(pictures.png(pictures.screen(film)))
