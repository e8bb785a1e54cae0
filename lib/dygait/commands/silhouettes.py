"""`dygait silhouettes`: convert videos, cameras, pictures or masks to silhouette sequences."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from dygait.commands.messages import INCOMPLETE
from dygait.commands.walk_options import Video, add_video_arguments
from dygait.errors import UserError

if TYPE_CHECKING:
    from dygait.video.output import SilhouetteFolder
    from dygait.video.sources import Source

HELP = "convert videos, cameras, pictures or masks to silhouette sequences"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Detect and track the people in videos, and write one sequence of normalised silhouettes for each track. "
        "See docs/own_video.md."
    )
    parser.epilog = "Exit code 0: done; 3: done, but some of the input could not be read; 2: invalid input, or nobody."
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a video file, a camera's number, a folder of pictures or masks"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to create")
    add_video_arguments(parser, "--weights")
    parser.add_argument("--preview", type=Path, metavar="FILE.mp4", help="draw outlines, boxes and track numbers")
    parser.add_argument(
        "--min-height", type=int, default=48, metavar="PIXELS", help="least height of a person (default: %(default)s)"
    )
    parser.add_argument(
        "--min-frames", type=int, default=30, metavar="N", help="least frames of a sequence (default: %(default)s)"
    )
    parser.add_argument("--keep-all", action="store_true", help="write sequences with problems, too")


def main(arguments: argparse.Namespace) -> int:
    """Write the silhouettes; the exit code is `INCOMPLETE` if some of the input could not be read."""
    from dygait.video.options import Options
    from dygait.video.output import SilhouetteFolder, unique_names
    from dygait.video.segmenters.build import build_segmenter
    from dygait.video.sources import open_source

    options = Options(arguments.rate, arguments.seconds, arguments.min_height, arguments.min_frames)
    segmenter = build_segmenter(arguments.segmenter, weights=arguments.weights, background=arguments.background)
    sources = [open_source(address, options.rate, segmenter.reads_masks) for address in arguments.sources]
    for source, name in zip(sources, unique_names([source.name for source in sources]), strict=True):
        source.name = name
    with SilhouetteFolder(arguments.output, options, arguments.segmenter, arguments.keep_all) as folder:
        for source in sources:
            preview = _preview_path(arguments.preview, source, len(sources))
            _write_tracks(Video(source, segmenter, options), folder, preview)
        if not folder.counts["tracks"]:
            addresses = ", ".join(source.address for source in sources)
            raise UserError(f"{addresses}: nobody was found; look at --preview, and see docs/own_video.md")
    counts = folder.counts
    print(
        f"{counts['tracks']} tracks, {counts['marked']} of them marked; {counts['sequences']} sequences, "
        f"{counts['frames']} frames in {arguments.output}"
    )
    return INCOMPLETE if any(source.lost for source in sources) else 0


def _write_tracks(video: Video, folder: SilhouetteFolder, preview: Path | None) -> None:
    from tqdm import tqdm

    from dygait.video.pipeline import Seen
    from dygait.video.preview import draw
    from dygait.video.sources import Frame
    from dygait.video_file import VideoFile

    name = video.source.name
    notices: list[str] = []
    with contextlib.ExitStack() as stack:
        file = None if preview is None else stack.enter_context(VideoFile(preview, video.source.rate))

        def observe(frame: Frame, seen: list[Seen]) -> None:
            if file is not None:
                file.write(draw(frame, seen))

        for track in video.tracks(observe, notices.append):
            folder.add(track)
            verdict = "; ".join(track.problems) or "good"
            tqdm.write(
                f"{name} {track.number:3d}  {track.times[0]:6.1f} to {track.times[-1]:6.1f} s  "
                f"{len(track.frames):4d} frames  {verdict} ({track.end})"
            )
    folder.close_source(video.source, notices)


def _preview_path(path: Path | None, source: Source, sources: int) -> Path | None:
    """Return the path of the preview; with several sources, each has its own."""
    return path if path is None or sources == 1 else path.with_name(f"{path.stem}-{source.name}{path.suffix}")
