from __future__ import annotations

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation import PROTOCOLS, SUBMISSIONS, ProbeGroup, Protocol, Selector, resolve_protocol


@pytest.mark.parametrize(
    ("eval_func", "dataset_name", "cross_view_gallery", "expected"),
    [
        (None, "CASIA-B", False, "CASIA-B"),
        (None, "SynGait", False, "CASIA-B"),
        (None, "OUMVLP", False, "OUMVLP"),
        (None, "GREW", False, "GREW"),
        (None, "Gait3D", False, "Gait3D"),
        (None, "Gait3D-128pixel", False, "Gait3D"),
        (None, "CASIA-B", True, "CASIA-B/cross-view"),
        ("evaluate_indoor_dataset", "CASIA-B", False, "CASIA-B"),
        ("evaluate_indoor_dataset", "CASIA-B", True, "CASIA-B/cross-view"),
        ("evaluate_indoor_dataset", "SynGait", False, "CASIA-B"),
        ("evaluate_indoor_dataset", "SynGait", True, "CASIA-B/cross-view"),
        ("evaluate_indoor_dataset", "OUMVLP", False, "OUMVLP"),
        ("evaluate_real_scene", "GREW", False, "GREW"),
        ("identification_real_scene", "GREW", False, "GREW"),
        ("evaluate_real_scene", "my-GREW", False, "GREW"),
        ("evaluate_Gait3D", "Gait3D", False, "Gait3D"),
        ("evaluation_Gait3D", "Gait3D", False, "Gait3D"),
        ("GREW_submission", "GREW", False, "GREW/submission"),
        ("identification_GREW_submission", "GREW", False, "GREW/submission"),
        ("CASIA-B", "mine", False, "CASIA-B"),
        ("CASIA-B", "mine", True, "CASIA-B/cross-view"),
        ("CASIA-B/cross-view", "CASIA-B", True, "CASIA-B/cross-view"),
        ("evaluate_indoor_dataset", "OUMVLP", True, "OUMVLP/cross-view"),
        ("evaluate_indoor_dataset", "SUSTech1K", False, "SUSTech1K"),
        (None, "SUSTech1K", False, "SUSTech1K"),
        ("evaluate_CCPG", "CCPG", False, "CCPG"),
        (None, "CCPG", False, "CCPG"),
        ("CCPG/single-view", "CCPG", False, "CCPG/single-view"),
        ("HID_submission", "HID", False, "HID/submission"),
        ("HID/submission", "HID", False, "HID/submission"),
    ],
)
def test_resolve_protocol(eval_func: str | None, dataset_name: str, cross_view_gallery: bool, expected: str) -> None:
    name = resolve_protocol(eval_func, dataset_name, cross_view_gallery)
    assert name == expected
    assert name in SUBMISSIONS or PROTOCOLS.get(name).name == name


@pytest.mark.parametrize(
    ("eval_func", "dataset_name", "cross_view_gallery", "message"),
    [
        ("evaluate_scoliosis", "Scoliosis1K", False, "evaluate_scoliosis is not built yet"),
        ("evaluate_CCPG", "OUMVLP", False, "does not fit the dataset 'OUMVLP'"),
        ("HID_submission", "CASIA-B", False, "does not fit the dataset 'CASIA-B'"),
        ("evaluate_CASIA", "CASIA-B", False, "unknown 'evaluate_CASIA'; choose one of GREW_submission"),
        (None, "CASIA-E", False, "'CASIA-E' has no protocol of its own; name one of"),
        ("evaluate_indoor_dataset", "GREW", False, "is for CASIA-B, OUMVLP, SUSTech1K, not for the dataset 'GREW'"),
        ("evaluate_indoor_dataset", "mine", False, "is for CASIA-B, OUMVLP, SUSTech1K, not for the dataset 'mine'"),
        ("evaluate_real_scene", "CASIA-B", False, "does not fit the dataset 'CASIA-B', whose protocol is 'CASIA-B'"),
        ("evaluate_Gait3D", "SynGait", False, "does not fit the dataset 'SynGait'"),
        ("GREW_submission", "Gait3D", False, "does not fit the dataset 'Gait3D'"),
        ("evaluate_real_scene", "GREW", True, "cross_view_gallery: the protocol 'GREW' has no cross-view form"),
        ("GREW_submission", "GREW", True, "cross_view_gallery: the protocol 'GREW/submission' has no cross-view form"),
    ],
)
def test_what_is_refused(eval_func: str | None, dataset_name: str, cross_view_gallery: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_protocol(eval_func, dataset_name, cross_view_gallery)


def names(*columns: list[str]) -> list[np.ndarray]:
    return [np.array(column) for column in columns]


def test_selector_criteria_all_hold() -> None:
    ids, types, views = names(["A", "B", "A", "A"], ["nm-01", "nm-01", "cl-01", "nm-02"], ["0", "0", "0", "90"])
    assert Selector().select(ids, types, views).tolist() == [True] * 4
    assert Selector(types=("nm-*",), ids=("A",)).select(ids, types, views).tolist() == [True, False, False, True]
    assert Selector(types=("*-01",), not_ids=("B",)).select(ids, types, views).tolist() == [True, False, True, False]
    assert Selector(views=("90", "18")).select(ids, types, views).tolist() == [False, False, False, True]
    assert Selector(types=("nm-0",)).select(ids, types, views).tolist() == [False] * 4  # a name, not a prefix


def test_selector_by_probe_list() -> None:
    ids, types, views = names(["A", "A"], ["c1", "c2"], ["s", "s"])
    assert Selector(listed=True).select(ids, types, views, ["A-c2-s"]).tolist() == [False, True]
    assert Selector(listed=False).select(ids, types, views, {"A-c2-s"}).tolist() == [True, False]


@pytest.mark.parametrize("measure", ["rank-0", "rank-x", "rank-", "map", "rank-1.5"])
def test_protocol_refuses_unknown_measures(measure: str) -> None:
    with pytest.raises(ValueError, match="unknown measure"):
        Protocol("p", "", Selector(), (ProbeGroup("g", Selector()),), measures=(measure,))


def test_protocol_needs_groups_and_measures() -> None:
    with pytest.raises(ValueError, match="no probe group"):
        Protocol("p", "", Selector(), ())
    with pytest.raises(ValueError, match="no measure"):
        Protocol("p", "", Selector(), (ProbeGroup("g", Selector()),), measures=())
    with pytest.raises(ValueError, match="two probe groups of one name"):
        Protocol("p", "", Selector(), (ProbeGroup("g", Selector()),) * 2)


def test_only_gait3d_needs_a_probe_list() -> None:
    assert [name for name in PROTOCOLS.names() if PROTOCOLS.get(name).needs_probe_list] == ["Gait3D"]


def test_patterns_say_what_is_needed() -> None:
    ids, types, views = names(["A"] * 4, ["00-nm", "x00-nm-2", "01-bg", "04-cl"], ["0"] * 4)
    assert Selector(types=("*00-nm*",)).select(ids, types, views).tolist() == [True, True, False, False]
    assert Selector(types=("0[1-3]-*",)).select(ids, types, views).tolist() == [False, False, True, False]
    assert Selector(types=("0[!0]-?l", "*bg")).select(ids, types, views).tolist() == [False, False, True, True]


def test_a_name_up_to_a_mark() -> None:
    _, _, views = names([], [], ["06_1", "06_2", "07", "_1"])
    protocol = Protocol("p", "", Selector(), (ProbeGroup("g", Selector()),), view_until="_")
    assert protocol.view_names(views).tolist() == ["06", "06", "07", ""]
    assert Protocol("p", "", Selector(), protocol.groups).view_names(views).tolist() == views.tolist()


def test_without_the_probes_that_cannot_match() -> None:
    left = PROTOCOLS.get("OUMVLP").without_unmatched().groups
    assert [group.name for group in left] == ["probes with a match"]
    wrong = Protocol("p", "", Selector(), (ProbeGroup("g", Selector(), unmatched="counted as wrong"),))
    assert [(g.name, g.unmatched) for g in wrong.without_unmatched().groups] == [("g", "left out")]
