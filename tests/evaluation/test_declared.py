from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation import PROTOCOLS, declared_protocol, evaluate, evaluate_detailed

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


def sequences() -> tuple[np.ndarray, list[str], list[str], list[str]]:
    types = [*(f"nm-{k:02d}" for k in range(1, 7)), "bg-01", "bg-02", "cl-01", "cl-02"]
    rows = [(i, t, v) for i in ("a", "b", "c") for t in types for v in ("000", "090")]
    features = np.random.default_rng(0).normal(size=(len(rows), 3, 2)).astype(np.float32)
    ids, kinds, views = (list(column) for column in zip(*rows, strict=True))
    return features, ids, kinds, views


def test_a_declaration_of_a_known_protocol_gives_its_numbers() -> None:
    assert evaluate(*sequences(), protocol=CASIA) == evaluate(*sequences(), protocol="CASIA-B")
    description = evaluate_detailed(*sequences(), protocol=CASIA).description
    assert description == (
        "gallery type nm-0[1-4]; probes NM type nm-05, nm-06 / BG type bg-* / CL type cl-*; one view at a time; "
        "identical view excluded"
    )


def test_every_key_reaches_the_protocol() -> None:
    protocol = declared_protocol(
        {
            "name": "all",
            "words": "my words",
            "gallery": {"types": "a", "ids": ["b", "c*"], "views": "0?", "not_ids": "probe", "listed": False},
            "groups": {
                "one": {"probes": {"listed": True}, "gallery": {"types": "g"}, "unmatched": "counted as wrong"},
                "two": {"probes": {}},
            },
            "exclusion": "same id in the same view",
            "view_until": "_",
            "measures": ["mAP", "rank-3"],
        }
    )
    assert protocol.description == "my words"
    gallery = protocol.gallery
    assert (gallery.types, gallery.ids, gallery.views, gallery.not_ids) == (["a"], ["b", "c*"], ["0?"], ["probe"])
    assert gallery.listed is False
    assert [*protocol.groups] == ["one", "two"]
    one, two = protocol.groups.values()
    assert (one.probes.listed, one.unmatched) == (True, "counted as wrong")
    assert one.gallery is not None
    assert one.gallery.types == ["g"]
    assert (two.probes.types, two.gallery, two.unmatched) == (["*"], None, "left out")
    assert (protocol.exclusion, protocol.view_until) == ("same id in the same view", "_")
    assert protocol.measures == ["mAP", "rank-3"]
    assert not protocol.one_view_at_a_time
    assert protocol.needs_probe_list


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"galery": {}}, r"protocol: galery: unknown key; did you mean 'gallery'\?"),
        ({"gallery": {"type": "nm-01"}}, r"protocol: gallery\.type: unknown key; did you mean 'types'\?"),
        ({"gallery": {"types": [1]}}, r"gallery\.types: a pattern is text: put 1 in quotes"),
        ({"gallery": {"types": "nm-0[1"}}, r"gallery\.types: the pattern 'nm-0\[1' has an unmatched bracket"),
        ({"gallery": {"types": ["a", "a"]}}, r"gallery\.types: the pattern 'a' is duplicate"),
        ({"gallery": {"types": []}}, r"gallery\.types: list should have at least 1 item"),
        ({"gallery": {"types": " a"}}, r"gallery\.types: the pattern ' a' is empty, or begins"),
        ({"groups": {}}, r"groups: .* at least 1"),
        ({"groups": {"x": {"types": "nm"}}}, r"groups\.x\.types: unknown key; valid keys: gallery, probes, unmatched"),
        ({"groups": {"x": {"probes": {"view": "0"}}}}, r"groups\.x\.probes\.view: unknown key; did you mean 'views'"),
        ({"measures": ["rank-0"]}, r"measures: unknown measure 'rank-0': rank-<k>, mAP or mINP"),
        ({"measures": ["mAP", "mAP"]}, r"measures: 'mAP' is duplicate"),
        ({"exclusion": "same view"}, r"exclusion: input should be 'nothing', 'identical view' or"),
        ({"name": "CASIA-B"}, r"name: 'CASIA-B' is a built-in protocol"),
        ({"name": "HID/submission"}, r"name: 'HID/submission' is a built-in protocol"),
        ({"name": "../x\n"}, r"protocol: name: "),
    ],
)
def test_mistakes_are_named_by_their_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        declared_protocol({**CASIA, **change})


def test_all_mistakes_at_once() -> None:
    with pytest.raises(UserError) as raised:
        declared_protocol({"name": "x", "gallery": {"type": "a"}, "measures": [1]}, "my.yaml")
    message = str(raised.value)
    for part in ("my.yaml: gallery.type: unknown key", "my.yaml: groups: this key is required", "my.yaml: measures.0:"):
        assert part in message


def test_built_in_protocols_have_descriptions() -> None:
    for name in PROTOCOLS.names():
        assert len(PROTOCOLS.get(name).description) > 30
