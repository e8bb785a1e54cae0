"""The retention of a run's checkpoints."""

from pathlib import Path

import pytest

from dygait.runs.checkpoint_files import checkpoint_path, checkpoints_of, save_checkpoint
from dygait.training.checkpoint import remove_old


@pytest.mark.parametrize(
    ("last", "every", "now", "kept"),
    [
        (None, None, 9, [9, 6, 5, 4, 3]),
        (1, None, 9, [9]),
        (2, 3, 9, [9, 6, 3]),
        (1, 2, 9, [9, 6, 4]),
        (1, None, 5, [9, 6, 5]),  # later ones are damaged or of an earlier run, and do not count
    ],
)
def test_old_ones_are_removed(tmp_path: Path, last: int | None, every: int | None, now: int, kept: list[int]) -> None:
    for iteration in (3, 4, 5, 6, 9):
        save_checkpoint(checkpoint_path(tmp_path, "run", iteration), {"model": {}})
    save_checkpoint(checkpoint_path(tmp_path, "other", 1), {"model": {}})
    removed = remove_old(tmp_path, "run", last, every, now)
    assert list(checkpoints_of(tmp_path, "run")) == kept
    assert len(removed) == 5 - len(kept)
    assert list(checkpoints_of(tmp_path, "other")) == [1]
