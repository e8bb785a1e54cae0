"""Frame sampling: fixed, unfixed or all frames of a sequence, ordered or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class FrameSampler:
    """Sample frames, as a pure function of the sequence's length and a random generator.

    * `fixed_*`: `frames_num_fixed` frames; `unfixed_*`: a number drawn from `frames_num_min` to `frames_num_max`.
    * `*_ordered`: from a random window that is longer by `frames_skip_num`, in temporal order; a shorter sequence
      is repeated from its start.
    * `*_unordered`: random frames; with repetition only if the sequence is too short.
    * `all_*`: every frame, in temporal order or shuffled; at most `frames_all_limit`, from the middle, unless that is
      None or -1.
    """

    sample_type: str = "fixed_ordered"
    frames_num_fixed: int = 30
    frames_num_min: int = 25
    frames_num_max: int = 50
    frames_skip_num: int = 0
    frames_all_limit: int | None = None

    def __post_init__(self) -> None:
        self.amount, _, order = self.sample_type.partition("_")
        self.ordered = order == "ordered"
        self.limit = self.frames_all_limit if self.frames_all_limit and self.frames_all_limit > 0 else None

    def max_frames(self, lengths: np.ndarray) -> np.ndarray:
        """Return the largest number of frames that can be sampled of sequences of some lengths, int64."""
        if self.amount == "all":
            return lengths if self.limit is None else np.minimum(lengths, self.limit)
        return np.full_like(lengths, self.frames_num_fixed if self.amount == "fixed" else self.frames_num_max)

    def __call__(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of the sampled frames, int64, in the order of use."""
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
        repeated = length if length >= window else length * -(-window // length)
        start = int(rng.integers(0, repeated - window + 1))
        kept = np.arange(window) if self.frames_skip_num == 0 else np.sort(rng.choice(window, count, replace=False))
        return (start + kept) % length
