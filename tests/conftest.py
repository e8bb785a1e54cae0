"""Fixtures that tests of every package share."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dygait.machine import peak_memory

pytest_plugins = ["helpers.fixtures"]

# In a PyTorch built for CUDA, FakeTensorMode, by which configurations are checked, replaces CUDA's device guard. After
# that a backward pass starts a thread, and PyTorch refuses backward passes in forked processes, as in tests/faults.
if hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
    torch._C._ensureCUDADeviceGuardSet = lambda: None


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread: tests are so small that several threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _no_gpu() -> Iterator[None]:
    """Hide any GPU: tests compute on the CPU. `tests/gpu` overrides it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _temporary_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the cache of DyGait out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of a launcher, by which the suite itself may have been started."""
    for name in (
        "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Fail a test in which the peak memory of this process grows by 256 MiB or more."""
    before = peak_memory()
    yield
    assert peak_memory() - before < 2**28


def blob_walk(frames: int, size: tuple[int, int], width: float, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (S, H, W), 0 or 255: an ellipse over two swinging legs; `width` identifies the subject."""
    height, columns = size
    y = (np.arange(height)[:, None] + 0.5) / height
    x = (np.arange(columns)[None, :] + 0.5 - columns / 2) / height
    phase = rng.uniform(0, 2 * np.pi)
    walk = np.zeros((frames, height, columns), np.uint8)
    for s in range(frames):
        swing = 0.12 * np.sin(phase + 0.5 * s)
        trunk = (x / width) ** 2 + ((y - 0.35) / 0.35) ** 2 < 1
        legs = (y > 0.55) & ((np.abs(x - swing * (y - 0.5) * 2) < 0.05) | (np.abs(x + swing * (y - 0.5) * 2) < 0.05))
        walk[s][trunk | legs] = 255
        walk[s][rng.random(size) < 0.01] = 255
    return walk


def make_tree(
    root: Path,
    ids: Sequence[str] = ("001", "002", "003", "004"),
    types: Sequence[str] = ("nm-01", "nm-02"),
    views: Sequence[str] = ("000", "090"),
    frames: tuple[int, int] = (8, 14),
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    channels: int = 1,
) -> Path:
    """Write `root/<id>/<type>/<view>/<view>.pkl`, a pickle of uint8 (S, H, W) each; deterministic.

    The width of the trunk differs between ids; `frames` are the minimum and maximum length of a sequence. With several
    `channels` a sequence is (S, C, H, W), each channel the previous one shifted by a pixel.
    """
    for i, person in enumerate(ids):
        for j, kind in enumerate(types):
            for k, view in enumerate(views):
                rng = np.random.default_rng((seed, i, j, k))
                folder = root / person / kind / view
                folder.mkdir(parents=True)
                count = int(rng.integers(frames[0], frames[1] + 1))
                walk = blob_walk(count, size, 0.08 + 0.12 * i / max(1, len(ids) - 1), rng)
                if channels > 1:
                    walk = np.stack([np.roll(walk, channel, 2) for channel in range(channels)], 1)
                (folder / f"{view}.pkl").write_bytes(pickle.dumps(walk))
    return root


TreeFactory = Callable[..., Path]


@pytest.fixture
def silhouette_tree(tmp_path: Path) -> TreeFactory:
    """`make_tree`, which by default writes to `data` in the temporary folder of the test."""
    return lambda root=tmp_path / "data", **options: make_tree(root, **options)


@pytest.fixture
def root(silhouette_tree: TreeFactory) -> Path:
    """A tree of four small sequences."""
    return silhouette_tree(ids=["001", "002"], types=["nm-01"], views=["000", "090"], size=(6, 4))
