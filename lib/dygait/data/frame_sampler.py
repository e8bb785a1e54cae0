"""Frame sampling: fixed, unfixed or all frames of a sequence, ordered or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class FrameSampler:
    """Sample frames, as a pure function of the length of a sequence and a random generator.

    * `fixed_*`: `frames_num_fixed` frames; `unfixed_*`: a random number from `frames_num_min` to `frames_num_max`.
    * `*_ordered`: in temporal order, from a random window that is longer by `frames_skip_num`; a shorter sequence is
      repeated.
    * `*_unordered`: random frames, with replacement only if the sequence is too short.
    * `all_*`: every frame, in temporal order or shuffled; at most `frames_all_limit`, from the middle, unless that is
      None or -1.

    With `frames_step` n above 1, only every n-th frame is used, from a random phase or, for `all_*`, the first frame.
    """

    sample_type: str = "fixed_ordered"
    frames_num_fixed: int = 30
    frames_num_min: int = 25
    frames_num_max: int = 50
    frames_skip_num: int = 0
    frames_all_limit: int | None = None
    frames_step: int = 1

    def __post_init__(self) -> None:
        self.amount, _, order = self.sample_type.partition("_")
        self.ordered = order == "ordered"
        self.limit = self.frames_all_limit if self.frames_all_limit and self.frames_all_limit > 0 else None

    def max_frames(self, lengths: np.ndarray) -> np.ndarray:
        """Return the maximum number of frames that are sampled from sequences of some lengths, int64."""
        if self.amount == "all":
            lengths = -(-lengths // self.frames_step)
            return lengths if self.limit is None else np.minimum(lengths, self.limit)
        return np.full_like(lengths, self.frames_num_fixed if self.amount == "fixed" else self.frames_num_max)

    def __call__(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of the sampled frames, int64, in the order of use."""
        if self.frames_step == 1:
            return self._sample(length, rng)
        phase = 0 if self.amount == "all" else int(rng.integers(min(self.frames_step, length)))
        used = np.arange(phase, length, self.frames_step)
        return used[self._sample(len(used), rng)]

    def _sample(self, length: int, rng: np.random.Generator) -> np.ndarray:
        if self.amount == "all":
            first, count = 0, length
            if self.limit is not None and length > self.limit:
                first, count = (length - self.limit) // 2, self.limit
            indices = np.arange(first, first + count)
            return indices if self.ordered else rng.permutation(indices)
        count = (
            self.frames_num_fixed
            if self.amount == "fixed"
            else int(rng.integers(self.frames_num_min, self.frames_num_max + 1))
        )
        if not self.ordered:
            return rng.choice(length, count, replace=length < count)
        window = count + self.frames_skip_num
        repeated_length = length if length >= window else length * -(-window // length)
        start = int(rng.integers(0, repeated_length - window + 1))
        skips = self.frames_skip_num > 0
        indices = np.sort(rng.choice(window, count, replace=False)) if skips else np.arange(window)
        return (start + indices) % length


def window_starts(length: int, size: int) -> np.ndarray:
    """Return the first frames, int64, of the fewest windows of `size` frames that cover a sequence, evenly spaced."""
    count = -(-length // size)
    return np.linspace(0, max(length - size, 0), count).round().astype(np.int64)
