"""SynGait rendered on reading."""

import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from dygait.commands import info
from dygait.data.integrity import find_unreadable, verify
from dygait.data.partition import load_partition
from dygait.data.stores import cached, open_store, read_pickle
from dygait.data.stores.base import no_progress
from dygait.data.stores.cached import fill_cache
from dygait.data.stores.concat import ConcatStore
from dygait.data.stores.packed_reader import PackedStore
from dygait.data.stores.rendered import RenderedStore
from dygait.errors import UserError
from dygait.synthetic.generate import generate
from dygait.synthetic.settings import MAX_IDS, parse_address

ADDRESS = "syngait://?seed=2&train_ids=1&test_ids=1&frames=4-6"


@pytest.fixture(scope="module")
def store() -> RenderedStore:
    rendered = open_store(ADDRESS)
    assert isinstance(rendered, RenderedStore)
    return rendered


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("syngait")
    generate(root, parse_address(ADDRESS), progress=False)
    return root


def test_it_equals_what_synth_writes(store: RenderedStore, tree: Path) -> None:
    written = open_store(tree)
    assert store.table.all_keys() == written.table.all_keys()
    indices = np.arange(len(store.table))
    lengths = store.lengths(indices)
    for index in indices.tolist():
        frames, expected = store.read(index), written.read(index)
        np.testing.assert_array_equal(frames, expected)
        assert frames.shape == expected.shape
        assert len(frames) == lengths[index] == store.verify(index)
        assert store.num_files(index) == 1
    assert store.geometries(indices) == {(64, 64): 0}
    assert store.geometries(indices[:0]) == {}
    partition, from_file = (load_partition(spec, "SynGait") for spec in (ADDRESS, str(tree / "SynGait.json")))
    assert (partition.train, partition.test) == (from_file.train, from_file.test) == (("001",), ("002",))


@pytest.mark.parametrize("item", [slice(1, 4), slice(None, 1), np.array([3, 0, 3, 3]), np.array([2])])
def test_frames_are_rendered_as_they_are_indexed(store: RenderedStore, tree: Path, item: slice | np.ndarray) -> None:
    expected = read_pickle(tree / "002" / "cl-01" / "126" / "126.pkl")
    index = store.table.all_keys().index(("002", "cl-01", "126"))
    np.testing.assert_array_equal(store.read(index)[item], expected[item])


def test_it_can_be_copied_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one for each core; the copy is in order, with heat maps too."""
    monkeypatch.setattr(cached, "available_cores", lambda: 2)
    monkeypatch.setattr(cached, "_JOB", 2)
    with_maps = RenderedStore(f"{ADDRESS}&heatmaps=1")
    cached.fill_cache(with_maps, np.array([5, 21, 150]), (0, 1), tmp_path / "dygait-cache-x", no_progress)
    copy = PackedStore(tmp_path / "dygait-cache-x")
    for position, index in enumerate((5, 21, 150)):
        for file in (0, 1):
            np.testing.assert_array_equal(copy.read(position, file), with_maps.read(index, file))


def test_it_can_be_copied_checked_and_sent_to_a_worker(store: RenderedStore, tmp_path: Path) -> None:
    fill_cache(store, np.array([5, 150]), (0,), tmp_path / "dygait-cache-x", no_progress)
    copy = pickle.loads(pickle.dumps(store))
    for position, index in enumerate((5, 150)):
        np.testing.assert_array_equal(PackedStore(tmp_path / "dygait-cache-x").read(position), copy.read(index))
    assert find_unreadable(store, np.arange(220), (0,), no_progress) == {}
    several = ConcatStore([store, copy])
    with mock.patch.object(several, "verify", side_effect=AssertionError("rendered to be checked")):
        assert find_unreadable(several, np.arange(440), (0,), no_progress) == {}
    assert list(verify(ADDRESS)) == []


def test_more_subjects_add_to_the_same_ones(store: RenderedStore) -> None:
    larger = RenderedStore("syngait://?seed=2&train_ids=1100&test_ids=10&frames=4-6")
    assert list(larger.table.ids.names) == sorted(larger.table.ids.names)
    assert larger.table.key(0) == store.table.key(0) == ("001", "bg-01", "000")
    np.testing.assert_array_equal(larger.read(0), store.read(0))
    last = larger.table.all_keys().index(("1110", "nm-02", "090"))
    assert len(np.asarray(larger.read(last))) == larger.verify(last)
    assert larger.fingerprint != store.fingerprint == open_store(ADDRESS).fingerprint


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("syngait://", (0, 40, 20, (36, 40))),
        ("syngait://full", (0, 74, 50, (48, 96))),
        ("syngait://?seed=7&frames=30", (7, 40, 20, (30, 30))),
        ("syngait://full?test_ids=0&train_ids=2000", (0, 2000, 0, (48, 96))),
        (Path("syngait://quick?seed=1"), (1, 40, 20, (36, 40))),
    ],
)
def test_addresses(address: str | Path, settings: tuple) -> None:
    parsed = parse_address(str(address))
    assert (parsed.seed, parsed.train_ids, parsed.test_ids, parsed.frames) == settings
    assert parse_address(parsed.address) == parsed


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("syngait://quik", "did you mean 'quick'"),
        ("syngait://?sed=1", "did you mean 'seed'"),
        ("syngait://?ids=1", "keys: seed, train_ids"),
        ("syngait://?seed=1&seed=2", "twice"),
        ("syngait://?seed=", "whole number"),
        ("syngait://?seed=-1", "whole number"),
        ("syngait://?train_ids=ten", "whole number"),
        ("syngait://?frames=36:40", "MIN-MAX"),
        ("syngait://?frames=40-36", "frames"),
        (f"syngait://?train_ids={MAX_IDS}", "ids in all"),
        ("syngait://quick/more", "PRESET"),
        ("syngait://quick?seed=1#x", "PRESET"),
    ],
)
def test_an_invalid_address_is_an_error_that_names_it(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_store(address)
    assert address in str(caught.value)


def test_info_describes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = info.argparse.ArgumentParser()
    info.add_arguments(parser)
    info.main(parser.parse_args([ADDRESS, "--sheet", str(tmp_path / "sheet.png")]))
    output = capsys.readouterr().out
    for part in (
        f"rendered: {parse_address(ADDRESS).address}",
        "220 sequences of 2 ids",
        "cl-02 (22)",
        "seed 2",
        "4 to 6 of 64x64",
    ):
        assert part in output
    assert (tmp_path / "sheet.png").stat().st_size > 1000
