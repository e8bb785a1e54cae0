from typing import Any

import pytest
import torch

from dygait.errors import UserError
from dygait.evaluation import PROTOCOLS, Protocol, Selector, declared_protocol, protocols_named, resolve_protocol
from dygait.evaluation.sequences import Sequences


@pytest.mark.parametrize(
    ("eval_func", "dataset_name", "cross_view_gallery", "expected"),
    [
        (None, "CASIA-B", False, "CASIA-B"),
        (None, "SynGait", True, "CASIA-B/cross-view"),
        (None, "Gait3D-128pixel", False, "Gait3D"),
        ("evaluate_indoor_dataset", "OUMVLP", True, "OUMVLP/cross-view"),
        ("evaluate_real_scene", "my-GREW", False, "GREW"),
        ("GREW_submission", "GREW", False, "GREW/submission"),
        ("CASIA-B", "mine", True, "CASIA-B/cross-view"),
        ("evaluate_indoor_dataset", "CASIA-E", False, "CASIA-E"),
        ("evaluate_CCGR_MINI", "CCGR-MINI", False, "CCGR-Mini"),
        ("evaluate_FreeGait", "FreeGait", False, "FreeGait"),
        ("CCPG/single-view", "CCPG", False, "CCPG/gait"),
        ("CASIA-B/cross-view", "CASIA-B", True, "CASIA-B/cross-view"),
    ],
)
def test_resolve_protocol(eval_func: str | None, dataset_name: str, cross_view_gallery: bool, expected: str) -> None:
    name = resolve_protocol(eval_func, dataset_name, cross_view_gallery)
    assert name == expected
    if name in PROTOCOLS:
        assert PROTOCOLS.get(name).name == name
        lists = {"Gait3D": ["PROBE_SET"], "FreeGait": ["PROBE_SET"], "CCGR-Mini": ["GALLERY_SET"]}
        assert PROTOCOLS.get(name).lists == lists.get(name, [])


@pytest.mark.parametrize(
    ("eval_func", "dataset_name", "cross_view_gallery", "message"),
    [
        ("HID_submission", "CASIA-B", False, "is for HID/submission, not for the dataset 'CASIA-B'"),
        ("evaluate_CASIA", "CASIA-B", False, "unknown 'evaluate_CASIA'; choose one of GREW_submission"),
        ("evaluate_indoor_dataset", "GREW", False, "is for CASIA-B, .*, SUSTech1K, not for the dataset 'GREW'"),
        ("GREW_submission", "GREW", True, "cross_view_gallery: the protocol 'GREW/submission' has no cross-view form"),
    ],
)
def test_errors(eval_func: str | None, dataset_name: str, cross_view_gallery: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_protocol(eval_func, dataset_name, cross_view_gallery)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, "xxxx"),
        ({"types": "nm-*", "ids": "A"}, "x--x"),
        ({"types": "*-01", "not_ids": "B"}, "x-x-"),
        ({"types": ["nm-0[!1]", "c?-01"]}, "--xx"),
        ({"types": "nm-0"}, "----"),  # a name, not a prefix
        ({"views": ["90", "18"]}, "---x"),
        ({"not_ids": "*"}, "----"),
        ({"not_views": ["9*", "1"]}, "xxx-"),
        ({"listed": True}, "-x--"),
        ({"listed": True, "listed_in": "GALLERY_SET"}, "--x-"),
        ({"listed": False, "types": "nm-*"}, "x--x"),
    ],
)
def test_all_criteria_of_a_selector_hold(criteria: dict[str, Any], expected: str) -> None:
    columns = (["A", "B", "A", "A"], ["nm-01", "nm-01", "cl-01", "nm-02"], ["0", "0", "0", "90"])
    lists = {"PROBE_SET": ["B-nm-01-0"], "GALLERY_SET": ["A-cl-01-0"]}
    mask = Sequences.checked(torch.empty(4, 0, 0), *columns).select(Selector.model_validate(criteria), lists)
    assert "".join("x" if selected else "-" for selected in mask) == expected


@pytest.mark.parametrize("eval_func", [None, "evaluate_CCPG", "CCPG"])
def test_ccpg_reports_both_protocols_unless_one_is_named(eval_func: str | None) -> None:
    protocols = protocols_named(resolve_protocol(eval_func, "CCPG"))
    assert [protocol.name for protocol in protocols] == ["CCPG/re-identification", "CCPG/gait"]
    assert PROTOCOLS.get("CCPG") is protocols[0]
    for protocol in protocols:
        assert protocols_named(resolve_protocol(protocol.name, "CCPG")) == [protocol]


def protocol(**keys: Any) -> Protocol:
    return Protocol.model_validate({"name": "p", "gallery": {}, "groups": {"g": {"probes": {}}}, **keys})


def test_view_until() -> None:
    views = ["06_1", "06_2", "07", "_1"]
    assert [protocol(view_until="_").view_name(view) for view in views] == ["06", "06", "07", ""]
    assert [protocol().view_name(view) for view in views] == views


def test_without_unmatched() -> None:
    groups = PROTOCOLS.get("OUMVLP").without_unmatched().groups
    assert [*groups] == ["probes with a match"]
    groups = protocol(groups={"g": {"probes": {}, "unmatched": "counted as wrong"}}).without_unmatched().groups
    assert [(name, group.unmatched) for name, group in groups.items()] == [("g", "left out")]


CASIA = {
    "name": "like-CASIA-B",
    "gallery": {"types": "nm-0[1-4]"},
    "groups": {
        "NM": {"probes": {"types": ["nm-05", "nm-06"]}},
        "BG": {"probes": {"types": "bg-*"}},
        "CL": {"probes": {"types": "cl-*"}},
    },
    "one_view_at_a_time": True,
    "exclusion": "identical view",
}


def test_a_declaration_describes_itself() -> None:
    assert declared_protocol(CASIA).description == (
        "gallery type nm-0[1-4]; probes NM type nm-05, nm-06 / BG type bg-* / CL type cl-*; one view at a time; "
        "identical view excluded"
    )
    assert declared_protocol({**CASIA, "words": "my words"}).description == "my words"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"galery": {}}, r"protocol: galery: unknown key; did you mean 'gallery'\?"),
        ({"gallery": {"types": [1]}}, r"gallery\.types: a pattern is text: put 1 in quotes"),
        ({"gallery": {"types": "nm-0[1"}}, r"gallery\.types: the pattern 'nm-0\[1' has an unmatched bracket"),
        ({"gallery": {"types": ["a", "a"]}}, r"gallery\.types: the pattern 'a' is duplicate"),
        ({"gallery": {"types": " a"}}, r"gallery\.types: the pattern ' a' is empty, or begins"),
        ({"groups": {"x": {"types": "nm"}}}, r"groups\.x\.types: unknown key; valid keys: gallery, probes, unmatched"),
        ({"measures": ["rank-0"]}, r"measures: unknown measure 'rank-0': rank-<k>, mAP or mINP"),
        ({"measures": ["mAP", "mAP"]}, r"measures: 'mAP' is duplicate"),
        ({"name": "CASIA-B"}, r"name: 'CASIA-B' is a built-in protocol"),
        ({"name": "../x\n"}, r"protocol: name: "),
    ],
)
def test_errors_name_the_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        declared_protocol({**CASIA, **change})


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(UserError) as raised:
        declared_protocol({"name": "x", "gallery": {"type": "a"}, "measures": [1]}, "my.yaml")
    message = str(raised.value)
    for part in ("my.yaml: gallery.type: unknown key", "my.yaml: groups: this key is required", "my.yaml: measures.0:"):
        assert part in message
