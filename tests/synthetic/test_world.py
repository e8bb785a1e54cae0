"""The knobs of SynGait: valid values, addresses and configuration sections, and frames with the default values."""

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from dygait.commands import synth
from dygait.config.schema import DataCfg
from dygait.data.stores import open_store
from dygait.data.stores.rendered import RenderedStore
from dygait.errors import UserError
from dygait.synthetic.presets import CASIA, WILD
from dygait.synthetic.settings import PRESETS, parse_address
from dygait.synthetic.strip import draw_strip
from dygait.synthetic.walker import render_frames, walk
from dygait.synthetic.world import World

SMALL = "train_ids=2&test_ids=0&frames=6"


def test_the_address_contains_the_knobs() -> None:
    settings = parse_address(f"syngait://?{SMALL}&people.walks=2,1,0&people.variety=1.5&wardrobe.outfits=3")
    assert settings.types == ("nm-01", "nm-02", "bg-01")
    assert settings.world.people.variety == 1.5
    assert settings.world.differences(CASIA) == {
        "people.walks": "2,1,0",
        "people.variety": "1.5",
        "wardrobe.outfits": "3",
    }
    assert parse_address(settings.address) == settings
    assert hash(parse_address(settings.address)) == hash(settings)


def test_an_address_names_the_nearest_preset() -> None:
    assert PRESETS["wild"].address == "syngait://wild?seed=0&train_ids=2000&test_ids=50&frames=36-40"
    settings = parse_address("syngait://wild?people.children=0.5")
    assert settings.address.endswith("&people.children=0.5")
    assert settings.world == WILD.replaced({"people": {"children": 0.5}}) != WILD
    assert parse_address("syngait://full").address == "syngait://?seed=0&train_ids=74&test_ids=50&frames=48-96"
    assert parse_address("syngait://wild").world == WILD


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ("peple.variety=1", "unknown key; did you mean 'people'"),
        ("people.varity=1", "people.varity: unknown key; did you mean 'variety'"),
        ("people.variety=much", "people.variety"),
        ("people.variety=-1", "people.variety.*greater than or equal to 0"),
        ("people.variety=nan", "people.variety"),
        ("people.walks=1,2", "people.walks"),
        ("people.walks=0,0,0", "people.walks: give at least one"),
        ("people.children=0.6&people.old=0.6", "children and old"),
        ("wardrobe.coats=0.5", "outfits of at least 1"),
        ("people.old=0.1&people.old=0.2", "twice"),
    ],
)
def test_errors_name_the_knob(knob: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        parse_address(f"syngait://?{knob}")
    assert f"syngait://?{knob}" in str(raised.value)


def data(root: str | list[str], **more: Any) -> DataCfg:
    return DataCfg.model_validate({"dataset_name": "x", "dataset_root": root, "dataset_partition": None, **more})


def test_the_section_is_resolved_into_the_address() -> None:
    section = {"people": {"children": 0.2}, "wardrobe": {"outfits": 4, "coats": 1}}
    resolved = data(f"syngait://?{SMALL}", syngait=section)
    assert isinstance(resolved.dataset_root, str)
    assert parse_address(resolved.dataset_root).world == World.model_validate(section)
    reloaded = DataCfg.model_validate(yaml.safe_load(yaml.safe_dump(resolved.model_dump())))
    assert reloaded == resolved
    assert reloaded.syngait.model_dump() == section, "keys without a value are not written"
    assert data("syngait://wild").model_dump()["syngait"] == {}
    overridden = data("syngait://wild?people.old=0.3", syngait={"people": {"old": 0.4}})
    assert parse_address(str(overridden.dataset_root)).world == WILD.replaced({"people": {"old": 0.4}})


def test_the_section_applies_to_the_addresses_of_a_list(tmp_path: Path) -> None:
    roots = [f"syngait://?{SMALL}", str(tmp_path), f"syngait://wild?{SMALL}"]
    resolved = data(roots, dataset_partition=[roots[0], "CASIA-B", roots[2]], syngait={"people": {"walks": [1, 0, 0]}})
    assert resolved.dataset_root[1] == str(tmp_path)
    store = open_store([resolved.dataset_root[0], resolved.dataset_root[2]])
    assert len(store.table) == 2 * 2 * 11
    assert np.asarray(store.read(0)).shape[1:] == (64, 64)


@pytest.mark.parametrize(
    ("root", "section", "message"),
    [
        ("somewhere", {"people": {"old": 0.1}}, "names no address"),
        ("syngait://quick", {"wardrobe": {"hats": 0.1}}, "outfits"),
        ("syngait://quick", {"people": {"old": "many"}}, "syngait.people.old"),
        ("syngait://quick", {"crowd": {}}, "syngait.crowd"),
    ],
)
def test_errors_of_the_section(root: str, section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        data(root, syngait=section)


def test_a_rendered_store_has_the_walks_and_frames_of_its_knobs() -> None:
    default, changed = (
        RenderedStore(f"syngait://?{SMALL}{knobs}") for knobs in ("", "&people.walks=1,0,1&people.variety=0")
    )
    assert list(changed.table.types.names) == ["cl-01", "nm-01"]
    assert changed.fingerprint != default.fingerprint
    assert changed.location(0).startswith("syngait://?")
    assert pickle.loads(pickle.dumps(changed)).settings == changed.settings
    fewer_walks = RenderedStore(f"syngait://?{SMALL}&people.walks=1,0,1")
    index = fewer_walks.table.all_keys().index(("002", "nm-01", "054"))
    default_index = default.table.all_keys().index(("002", "nm-01", "054"))
    np.testing.assert_array_equal(fewer_walks.read(index), default.read(default_index))
    assert (np.asarray(changed.read(index)) != np.asarray(default.read(default_index))).any()


@pytest.mark.parametrize("subject", [1, 2])
def test_wild_is_a_pure_function(subject: int) -> None:
    settings = parse_address(f"syngait://wild?{SMALL}")
    for kind in ("nm-01", "bg-01", "cl-02"):
        frames = render_frames(settings, subject, kind, settings.views[3], walk(settings, subject, kind))
        fresh = parse_address(settings.address)
        figure = walk.__wrapped__(fresh, subject, kind)
        np.testing.assert_array_equal(render_frames(fresh, subject, kind, fresh.views[3], figure), frames)
        np.testing.assert_array_equal(render_frames(fresh, subject, kind, fresh.views[3], figure, [3]), frames[[3]])


def run_command(*options: str) -> None:
    parser = argparse.ArgumentParser()
    synth.add_arguments(parser)
    synth.main(parser.parse_args(options))


def test_synth_takes_a_file_of_knobs(tmp_path: Path) -> None:
    knobs = tmp_path / "knobs.yaml"
    knobs.write_text("people: {walks: [1, 0, 0]}\n")
    sizes = ["--train-ids", "1", "--test-ids", "0", "--frames", "2", "2", "--workers", "1"]
    run_command("--output", str(tmp_path / "data"), "--preset", "wild", "--settings", str(knobs), *sizes)
    settings = json.loads((tmp_path / "data" / "settings.json").read_text())
    assert settings["world"]["people.walks"] == "1,0,0"
    assert settings["world"]["wardrobe.outfits"] == str(WILD.wardrobe.outfits)
    assert [path.name for path in (tmp_path / "data" / "001").iterdir()] == ["nm-01"]
    with pytest.raises(UserError, match=r"other settings .*world"):
        run_command("--output", str(tmp_path / "data"), "--preset", "wild", *sizes)
    knobs.write_text("people: {walk: [1, 0, 0]}\n")
    with pytest.raises(UserError, match=r"knobs\.yaml: people\.walk: unknown key; did you mean 'walks'"):
        run_command("--output", str(tmp_path / "more"), "--settings", str(knobs))


PIXELS = {
    ("001", "nm-02", "054"): [[47, 92, 121, 143, 120, 69, 67, 61], [48, 80, 94, 96, 112, 92, 76, 89]],
    ("002", "bg-01", "090"): [[44, 53, 79, 118, 96, 85, 82, 80], [47, 52, 73, 94, 67, 83, 92, 52]],
    ("003", "cl-01", "162"): [[48, 159, 203, 211, 140, 95, 66, 42], [51, 147, 194, 211, 162, 127, 118, 88]],
}
"""Pixels of the first and the last of six frames, summed over eight rows each, by the version without knobs."""


@pytest.mark.parametrize("key", PIXELS, ids="/".join)
def test_default_frames_are_those_before_there_were_knobs(key: tuple[str, str, str]) -> None:
    store = open_store("syngait://?seed=2&train_ids=3&test_ids=0&frames=6")
    frames = np.asarray(store.read(store.table.all_keys().index(key)))[[0, 5]] > 127
    # Outlines differ slightly between processors.
    np.testing.assert_allclose(frames.reshape(2, 8, 8, 64).sum((2, 3)), PIXELS[key], atol=2)


def test_strip_of_the_wild_preset() -> None:
    settings = PRESETS["wild"].with_knobs({"people": {"walks": [1, 0, 1]}})
    picture = draw_strip(settings)
    assert picture.shape[0] > 7 * 2 * 64
    assert picture.std() > 20
