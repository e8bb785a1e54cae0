"""Tracking people from frame to frame by ByteTrack, of the package `trackers`.

Y. Zhang et al., *ByteTrack: Multi-Object Tracking by Associating Every Detection Box*, ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dygait.errors import UserError
from dygait.video.segmenters.base import Person

_LOST_SECONDS = 1.0  # a track whose person is not seen for longer is deleted
_STEPS_OF_A_SECOND = 30  # unit of `lost_track_buffer`, whatever the frame rate is


class Tracker:
    """Assigns a track number to each person of each frame.

    Args:
        rate: frames per second.

    Raises:
        UserError: the package `trackers` is not installed.
    """

    def __init__(self, rate: float) -> None:
        try:
            from supervision import Detections
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise UserError(
                f"tracking needs the package `trackers`, which is not installed ({error}): pip install 'dygait[video]'"
            ) from None
        self._detections = Detections
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(_LOST_SECONDS * _STEPS_OF_A_SECOND),
            frame_rate=rate,
            track_activation_threshold=0.5,
            high_conf_det_threshold=0.5,
            minimum_consecutive_frames=2,
            minimum_iou_threshold=0.1,
        )
        self._lost_frames = max(1, round(_LOST_SECONDS * rate))
        self._next = 0

    def update(self, frame: int, people: Sequence[Person]) -> list[int | None]:
        """Return the track of each person of a frame, None if there is none yet; skipped frames showed nobody."""
        for _ in range(min(frame - self._next, self._lost_frames)):
            self._tracker.update(self._detections.empty())
        self._next = frame + 1
        if not people:
            self._tracker.update(self._detections.empty())
            return []
        boxes = np.array([person.box for person in people], np.float64)
        detections = self._tracker.update(
            self._detections(
                xyxy=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
                confidence=np.array([person.score for person in people]),
                class_id=np.arange(len(people)),  # comes back with each box; their order may change
            )
        )
        numbers: list[int | None] = [None] * len(people)
        order, tracks = np.asarray(detections.class_id).tolist(), np.asarray(detections.tracker_id).tolist()
        for person, number in zip(order, tracks, strict=True):
            if number >= 0:
                numbers[person] = number
        return numbers
