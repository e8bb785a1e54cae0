"""`dygait identify`: identify the people of a video, or of silhouettes, by a gallery."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dygait.commands.gallery_options import add_gallery_arguments, open_gallery
from dygait.commands.messages import write_file
from dygait.commands.walk_options import Video, add_source_arguments, open_video, walks_in
from dygait.errors import UserError

if TYPE_CHECKING:
    from dygait.identification import Gallery
    from dygait.identification.answers import Identified

HELP = "identify the people of a video by a gallery"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Search each track in a gallery, and print the nearest person, and whether it is near enough."
    add_source_arguments(parser)
    add_gallery_arguments(parser)
    parser.add_argument(
        "--fpir",
        type=float,
        metavar="RATE",
        help="false-positive identification rate: the share of people who are not enrolled, but are taken for somebody "
        "who is (default: that of the calibration)",
    )
    parser.add_argument(
        "--search",
        choices=("exact", "faiss"),
        default="exact",
        help="faiss: for galleries of more than a million windows (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answers as JSON")
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="write a page with silhouettes and distances")
    parser.add_argument("--video", type=Path, metavar="FILE.mp4", help="write the video with names")
    parser.add_argument(
        "--live",
        action="store_true",
        help="print names while people walk, until Ctrl-C, and show the frames if there is a display",
    )


def main(arguments: argparse.Namespace) -> None:
    from dygait.identification.answers import Identified, table

    gallery = open_gallery(arguments, search=arguments.search)
    gallery.folder.settings()  # raises, before anything is loaded, if there is no gallery
    video = open_video(arguments)
    if video is None and (arguments.video is not None or arguments.live):
        raise UserError(f"{arguments.source} is silhouettes: --video and --live need a video or a camera")
    if video is not None and video.source.is_live and arguments.video is not None:
        raise UserError("--video reads the source again, which a camera cannot: record it first")
    if video is not None and arguments.live:
        _watch(gallery, video, arguments)
        return
    results = []
    for walk in walks_in(arguments, video, gallery.model.info.frame_rate):
        (answer,) = gallery.identify([walk.frames], arguments.fpir)
        results.append(Identified(walk.reduced(), answer))
    results.sort(key=lambda result: result.walk.span or (0.0, 0.0))
    print(table(results))
    _write(results, gallery, video, arguments)


def _write(results: Sequence[Identified], gallery: Gallery, video: Video | None, arguments: argparse.Namespace) -> None:
    from dygait.identification.answers import to_dict
    from dygait.identification.drawing import write_video
    from dygait.identification.page import write_page

    if arguments.json is not None:
        content = to_dict(results, str(arguments.gallery), len(gallery.names))
        write_file(arguments.json, json.dumps(content, indent=2) + "\n")
    if arguments.page is not None:
        write_page(results, gallery, arguments.source, arguments.page)
    if video is not None and arguments.video is not None:
        write_video(results, video.source, arguments.video)
    for path in (arguments.page, arguments.video):
        if path is not None:
            print(f"wrote {path}")


def _watch(gallery: Gallery, video: Video, arguments: argparse.Namespace) -> None:
    """Print names while people walk, and again when a track ends; no result is stored."""
    from dygait.identification.answers import Identified, line
    from dygait.identification.live import LiveNames

    rate = gallery.model.info.frame_rate
    names = LiveNames(gallery, video.stride(rate), arguments.fpir)
    for walk in video.walks(arguments.sequences, rate, names):
        (answer,) = gallery.identify([walk.frames], arguments.fpir)
        print(line(Identified(walk, answer)), flush=True)
