"""From a video of people walking to one sequence of normalised silhouettes per track.

`tracks(source, options)` yields each track when it ends, a second after the person has left. Its memory does not grow
with the length of the video.
"""

from dygait.video.options import Options
from dygait.video.pipeline import tracks
from dygait.video.segmenters import SEGMENTERS, Person, Segmenter
from dygait.video.track import Track
