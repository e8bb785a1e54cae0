"""Options that name walks, stored silhouettes or the tracks of a video, and reading these walks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from dygait.errors import UserError

if TYPE_CHECKING:
    from dygait.identification.walks import Walk
    from dygait.video import Options, Segmenter, Track
    from dygait.video.pipeline import Observer, Seen
    from dygait.video.sources import Frame, Source


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name a source of walks."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="silhouettes (a dataset, a folder of pickles), a video, a camera's number, or a folder of pictures",
    )
    parser.add_argument(
        "--sequences",
        default="*",
        metavar="PATTERN",
        help="for silhouettes, a pattern of <id>/<type>/<view>; for a video, a pattern of track numbers",
    )
    video = parser.add_argument_group("videos", "as for `dygait silhouettes`")
    add_video_arguments(video, "--segmenter-weights")


def add_video_arguments(parser: argparse._ActionsContainer, weights: str) -> None:
    """Declare the options of segmentation; `weights` is the name of the option for the segmenter's weights."""
    parser.add_argument(
        "--segmenter",
        default="background",
        metavar="NAME|FILE",
        help="background, torchvision, onnx, masks or your own; or a YAML file with its keys (default: %(default)s)",
    )
    parser.add_argument("--background", metavar="PICTURE", help="the scene without people (background)")
    parser.add_argument(weights, metavar="FILE", help="the segmenter's weights (torchvision)")
    parser.add_argument("--rate", type=float, metavar="N", help="frames per second, instead of the source's own")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of each source that is read (default: all)")


class Video(NamedTuple):
    """A source with the segmenter and the options of its tracks."""

    source: Source
    segmenter: Segmenter
    options: Options

    def stride(self, rate: float | None) -> int:
        """Return n such that every n-th frame gives about `rate` frames per second; 1 if `rate` is None."""
        return 1 if rate is None else max(1, round(self.source.rate / rate))

    def tracks(self, observe: Observer | None = None, notify: Callable[[str], None] | None = None) -> Iterator[Track]:
        """Yield the tracks as `dygait.video.tracks`, with a progress bar; notices are printed, too."""
        from dygait.logs import progress_bar
        from dygait.untrusted import printable
        from dygait.video import tracks

        with progress_bar(self.source.count or 0, self.source.name, "frame") as bar:

            def observe_frame(frame: Frame, seen: list[Seen]) -> None:
                bar.update()
                if observe is not None:
                    observe(frame, seen)

            def warn(notice: str) -> None:
                bar.write(printable(f"dygait: warning: {notice}"), file=sys.stderr)
                if notify is not None:
                    notify(notice)

            yield from tracks(self.source, self.options, self.segmenter, observe_frame, warn)

    def walks(self, pattern: str, rate: float | None, observe: Observer | None = None) -> Iterator[Walk]:
        """Yield the tracks whose number matches a pattern, at the weights' frame `rate`; None if it is unknown."""
        from dygait.identification.walks import Walk

        is_empty = True
        for track in self.tracks(observe):
            if fnmatchcase(str(track.number), pattern):
                is_empty = False
                yield Walk(str(track.number), track.frames[:: self.stride(rate)], track=track)
        if is_empty:
            raise UserError(f"{self.source.name}: nobody was found; look at `dygait silhouettes --preview`")


def open_video(arguments: argparse.Namespace) -> Video | None:
    """Open the source that the options name for segmentation; None if it holds silhouettes."""
    from dygait.identification.walks import holds_silhouettes

    if holds_silhouettes(arguments.source):
        return None
    from dygait.video.options import Options
    from dygait.video.segmenters.build import build_segmenter
    from dygait.video.sources import open_source

    options = Options(rate=arguments.rate, seconds=arguments.seconds)
    keywords = {"weights": arguments.segmenter_weights, "background": arguments.background}
    segmenter = build_segmenter(arguments.segmenter, **keywords)
    return Video(open_source(arguments.source, options.rate, segmenter.reads_masks), segmenter, options)


def walks_in(arguments: argparse.Namespace, video: Video | None, rate: float | None) -> Iterator[Walk]:
    """Yield the walks that the options name, of a video or of silhouettes; `rate` as in `Video.walks`."""
    from dygait.identification.walks import walks_of

    if video is not None:
        return video.walks(arguments.sequences, rate)
    return walks_of(arguments.source, arguments.sequences)
