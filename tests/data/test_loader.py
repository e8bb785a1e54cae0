"""Killed and failing loader workers; loading itself is tested in test_dataset.py."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from dygait.data.dataset import Sample
from dygait.data.loader import batches, make_loader, working
from dygait.errors import LocalError


class Same:
    def __getitem__(self, request: Any) -> Sample:
        return Sample(np.zeros((2, 4, 3), np.uint8), 0, 0)


def loader() -> DataLoader[Any]:
    return make_loader(Same(), [[0, 0]] * 1000, 2, False)  # type: ignore[arg-type,list-item]


@pytest.fixture
def started() -> Iterator[Callable[[], list[Any]]]:
    """Return what lists the processes that the test has started; another child keeps running."""
    bystander = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    bystander.start()
    before = multiprocessing.active_children()
    yield lambda: [child for child in multiprocessing.active_children() if child not in before]
    assert bystander.is_alive()
    bystander.kill()
    bystander.join()


@pytest.mark.parametrize("where", ["waiting for it", "in a step", "in a checkpoint", "in a transfer of memory"])
def test_a_killed_worker_is_named(started: Callable[[], list[Any]], where: str) -> None:
    killed = 0
    with pytest.raises(LocalError) as found, working():  # noqa: PT012 - where it dies is the point
        stream = batches(loader())
        next(stream)
        killed = started()[0].pid
        os.kill(killed, signal.SIGKILL)
        if where == "in a step":
            time.sleep(20)
        if where == "in a checkpoint":
            with pytest.raises(RuntimeError) as inner:
                time.sleep(20)
            other = OSError("of the file that could not be written")
            other.__context__ = inner.value
            raise other
        if where == "in a transfer of memory":

            def lost() -> Iterator[Any]:
                raise ConnectionResetError
                yield

            next(batches(lost()))  # type: ignore[arg-type]
        for _ in stream:
            pass
    assert f"process {killed}, which loads data, " in str(found.value)
    assert "num_workers" in str(found.value)
    assert not started()


def test_an_error_ends_the_workers(started: Callable[[], list[Any]]) -> None:
    """They ignore SIGTERM, so that nobody else would; and PyTorch does not raise that they were killed."""
    with pytest.raises(ZeroDivisionError), working():  # noqa: PT012
        stream = batches(loader())
        next(stream)
        assert len(started()) == 2
        raise ZeroDivisionError
    assert not started()


def test_another_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dygait.data.loader._DETECTION_SECONDS", 0)

    def lost() -> Iterator[Any]:
        raise ConnectionResetError("by the peer")
        yield

    with pytest.raises(ConnectionResetError, match="by the peer"), working():
        next(batches(lost()))  # type: ignore[arg-type]
