"""The cache in memory: equal frames, removed at the end of its process, or by the next process if that was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dygait.data.stores import PackedStore, cached, open_store
from dygait.data.stores.base import no_progress
from dygait.data.stores.cached import fill_cache, memory_folder
from dygait.errors import UserError
from helpers.experiments import environment


def test_it_holds_the_chosen_sequences_in_order(root: Path, tmp_path: Path) -> None:
    store, indices = open_store(root), np.array([1, 3])
    fill_cache(store, indices, [0], tmp_path / "cache", no_progress)
    copy = PackedStore(tmp_path / "cache")
    assert copy.table.all_keys() == [store.table.key(1), store.table.key(3)]
    for index, original in enumerate(indices.tolist()):
        assert np.array_equal(copy.read(index), store.read(original))


def test_it_is_removed_with_its_process_or_by_the_next_one(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys, os, numpy as np; from pathlib import Path; from dygait.data.stores import open_store;"
        "from dygait.data.stores.cached import fill_cache;"
        "fill_cache(open_store(sys.argv[1]), np.array([0]), [0], Path(sys.argv[2]), lambda wrapped, total: wrapped);"
        "assert (Path(sys.argv[2]) / 'store.json').is_file();"
        "os.kill(os.getpid(), 9) if sys.argv[3] == 'killed' else None"
    )
    for name in ("dygait-cache-ended", "dygait-cache-killed"):
        arguments = [sys.executable, "-c", code, str(root), str(tmp_path / name), name.rpartition("-")[2]]
        subprocess.run(arguments, env=environment(), check=False)
    assert sorted(p.name for p in tmp_path.glob("dygait*")) == ["dygait-cache-killed", "dygait-cache-killed.alive"]
    fill_cache(open_store(root), np.array([0]), [0], tmp_path / "dygait-cache-young", no_progress)
    assert (tmp_path / "dygait-cache-killed").exists(), "it may have just been created"
    old = time.time() - 100
    for path in tmp_path.glob("*.alive"):
        os.utime(path, (old, old))
    fill_cache(open_store(root), np.array([0]), [0], tmp_path / "dygait-cache-next", no_progress)
    remaining = sorted(p.name for p in tmp_path.glob("dygait*") if p.is_dir())
    assert remaining == ["dygait-cache-next", "dygait-cache-young"], "those of running processes are kept"


def test_a_full_disk(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached.PackedWriter, "write", fail)
    with pytest.raises(UserError, match=r"data_cfg.cache: .*No space left"):
        fill_cache(open_store(root), np.arange(4), [0], tmp_path / "cache", no_progress)
    assert not (tmp_path / "cache").exists()


def test_the_folder_is_in_memory_where_possible() -> None:
    folder = memory_folder("token")
    assert folder.name == "dygait-cache-token"
    if sys.platform == "linux" and os.access("/dev/shm", os.W_OK):
        assert folder.parent == Path("/dev/shm")
