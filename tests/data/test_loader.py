"""Killed and failing worker processes; test_dataset.py tests loading itself."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, model_serializer
from torch.utils.data import DataLoader

from dygait.data.dataset import Sample
from dygait.data.loader import batches, make_loader, working
from dygait.errors import LocalError


class ConstantDataset:
    def __getitem__(self, request: Any) -> Sample:
        return Sample(np.zeros((2, 4, 3), np.uint8), 0, 0)


class SlowlySerialised(BaseModel):
    @model_serializer
    def wait(self) -> dict[str, Any]:
        time.sleep(20)
        return {}


def loader() -> DataLoader[Any]:
    return make_loader(ConstantDataset(), [[0, 0]] * 1000, 2, False)  # type: ignore[arg-type,list-item]


@pytest.fixture
def loader_processes() -> Iterator[Callable[[], list[Any]]]:
    """Return a function that lists the processes that the test has started; another child process keeps running."""
    bystander = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    bystander.start()
    before = multiprocessing.active_children()
    yield lambda: [child for child in multiprocessing.active_children() if child not in before]
    assert bystander.is_alive()
    bystander.kill()
    bystander.join()


@pytest.mark.parametrize(
    "moment",
    ["while waiting for it", "in a step", "in a checkpoint", "while serialising", "in a transfer of memory"],
)
def test_a_killed_worker_is_named(loader_processes: Callable[[], list[Any]], moment: str) -> None:
    killed = 0
    with pytest.raises(LocalError) as caught, working():  # noqa: PT012 - where it dies is the point
        stream = batches(loader())
        next(stream)
        killed = loader_processes()[0].pid
        os.kill(killed, signal.SIGKILL)
        if moment == "in a step":
            time.sleep(20)
        if moment == "in a checkpoint":
            with pytest.raises(RuntimeError) as inner:
                time.sleep(20)
            other = OSError("a file could not be written")
            other.__context__ = inner.value
            raise other
        if moment == "while serialising":
            SlowlySerialised().model_dump()
        if moment == "in a transfer of memory":

            def lost() -> Iterator[Any]:
                raise ConnectionResetError
                yield

            next(batches(lost()))  # type: ignore[arg-type]
        for _ in stream:
            pass
    assert f"process {killed}, which loads data, " in str(caught.value)
    assert "num_workers" in str(caught.value)
    assert not loader_processes()


def test_an_error_ends_the_workers(loader_processes: Callable[[], list[Any]]) -> None:
    """They ignore SIGTERM, so `working` has to end them; and PyTorch raises no error for it."""
    with pytest.raises(ZeroDivisionError), working():  # noqa: PT012
        stream = batches(loader())
        next(stream)
        assert len(loader_processes()) == 2
        raise ZeroDivisionError
    assert not loader_processes()


def test_another_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dygait.data.loader._DETECTION_SECONDS", 0)

    def lost() -> Iterator[Any]:
        raise ConnectionResetError("by the peer")
        yield

    with pytest.raises(ConnectionResetError, match="by the peer"), working():
        next(batches(lost()))  # type: ignore[arg-type]
