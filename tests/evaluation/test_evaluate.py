"""Every number of an evaluation is that of plain loops over comparisons, under every kind of protocol."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from dygait.errors import UserError
from dygait.evaluation import (
    EvaluationResult,
    Options,
    Protocol,
    ReRank,
    check_against_data,
    evaluate,
    evaluate_detailed,
)
from dygait.evaluation.analysis import RANKS, Analysis
from helpers.report_runs import analysed
from reference import metrics
from reference.analysis import Comparisons, distances

Columns = tuple[np.ndarray, list[str], list[str], list[str]]

CASIA_TYPES = [*(f"nm-{k:02d}" for k in range(1, 7)), "bg-01", "bg-02", "cl-01", "cl-02"]
GALLERY = ["nm-01", "nm-02", "nm-03", "nm-04"]
RE_RANK = ReRank(4, 3, 0.3)


class Published(NamedTuple):
    """A protocol as its paper defines it: group -> types of probes and of the gallery."""

    types: Sequence[str]
    views: Sequence[str]
    groups: dict[str, tuple[Sequence[str], Sequence[str]]]
    one_view: bool = False
    exclusion: str = "nothing"
    measures: Sequence[str] = ("rank-1",)
    camera: Callable[[str], str] = str
    wrong: Sequence[str] = ()  # groups in which a probe without a match counts as wrong


SAME = "same id in the same view"
THREE = ("000", "018", "090")
_OUMVLP = {"all probes": (["00"], ["01"]), "probes with a match": (["00"], ["01"])}
_CCPG = {
    "CL": (["U0_D0_BG", "U0_D0"], ["U1_D1", "U2_D2", "U3_D3"]),
    "UP": (["U3_D3"], ["U0_D3"]),
    "DN": (["U1_D0"], ["U1_D1"]),
    "BG": (["U0_D0_BG"], ["U0_D0"]),
}
_CCPG_DATA = (["U0_D0", "U0_D0_BG", "U1_D1", "U2_D2", "U3_D3", "U0_D3", "U1_D0"], ["06_1", "06_2", "07_1", "10_1"])
_SUSTECH = ["00-nm", "01-nm", "01-bg", "02-cl", "03-cr-ub", "04-uf", "02-oc", "01-nt", "00-bg"]
_CASIA_E = ["H-scene1-nm-1", "L-scene1-nm-2", "H-scene1-bg-1", "L-scene1-nm-3", "H-scene2-nm-1", "L-scene2-nm-3",
            "H-scene2-bg-2", "L-scene3-cl-1", "L-scene3_s-nm-2", "H-scene3_s-bg-1"]  # fmt: skip
PUBLISHED = {
    "CASIA-B": Published(
        CASIA_TYPES, THREE,
        {kind.upper(): ([t for t in CASIA_TYPES if t[:2] == kind][-2:], GALLERY) for kind in ("nm", "bg", "cl")},
        True, "identical view",
    ),
    "CASIA-B/cross-view": Published(
        CASIA_TYPES, THREE, {k.upper(): ([f"{k}-01"], ["nm-02", "bg-02", "cl-02"]) for k in ("nm", "bg", "cl")},
        False, SAME, ("rank-1", "mAP"),
    ),
    "OUMVLP": Published(["00", "01"], THREE, _OUMVLP, True, "identical view", wrong=["all probes"]),
    "OUMVLP/cross-view": Published(
        ["00", "01"], THREE, _OUMVLP, False, SAME, ("rank-1", "mAP"), wrong=["all probes"]
    ),
    "CASIA-E": Published(
        _CASIA_E, ["000", "015", "090"],
        {
            kind.upper(): (
                [t for t in _CASIA_E if f"-{kind}-" in t and "scene1" not in t and t[-1] != "3"],
                [f"{height}-scene1-nm-{k}" for height in "HL" for k in (1, 2)],
            )
            for kind in ("nm", "bg", "cl")
        },
        True, "identical view", wrong=["NM", "BG", "CL"],
    ),
    "GREW": Published(
        ["01", "02"], ["x"], {"probe": (["02"], ["01"])}, measures=("rank-1", "rank-5", "rank-10", "rank-20")
    ),
    "SUSTech1K": Published(
        _SUSTECH, ["000", "045-far", "090"],
        {
            group: ([t for t in _SUSTECH if any(part in t for part in parts)], ["00-nm"])
            for group, parts in {
                "Normal": ["01-nm"], "Bag": ["bg"], "Clothing": ["cl"], "Carrying": ["cr"], "Umbrella": ["ub"],
                "Uniform": ["uf"], "Occlusion": ["oc"], "Night": ["nt"], "Overall": ["01", "02", "03", "04"],
            }.items()
        },
        True, "identical view", ("rank-1", "rank-5"),
    ),
    "CCPG/re-identification": Published(
        *_CCPG_DATA, _CCPG, False, SAME, ("rank-1", "mAP", "mINP"), lambda view: view.split("_")[0]
    ),
    "CCPG/gait": Published(
        *_CCPG_DATA, _CCPG, True, "identical view", camera=lambda view: view.split("_")[0], wrong=list(_CCPG)
    ),
}  # fmt: skip


def sequences(
    types: Sequence[str], views: Sequence[str], missing: float = 0.0, levels: int | None = None, subjects: int = 8
) -> Columns:
    """Random sequences, some of them missing; few `levels` make distances tie."""
    rng = np.random.default_rng(0)
    ids = [f"{75 + i:03d}" for i in range(subjects)]
    rows = [(i, t, v) for i in ids for t in types for v in views if rng.random() >= missing]
    centre = {i: rng.normal(size=(4, 3)) for i in ids}
    features = np.stack([centre[i] + 0.8 * rng.normal(size=(4, 3)) for i, _, _ in rows])
    features = (features if levels is None else np.floor(features * levels / 4)).astype(np.float32)
    return features, *(list(column) for column in zip(*rows, strict=True))


def casia(**keywords: Any) -> Columns:
    return sequences(CASIA_TYPES, THREE, subjects=6, **keywords)


def keep(columns: Columns, chosen: Callable[[str, str, str], bool]) -> Columns:
    rows = [n for n, key in enumerate(zip(*columns[1:], strict=True)) if chosen(*key)]
    return columns[0][rows], *([column[n] for n in rows] for column in columns[1:])


def check_numbers(found: EvaluationResult, group: str, expected: Comparisons) -> None:
    for name in found.measures:
        measure = metrics.MEASURES[name]
        assert found.percentages[group][name] == pytest.approx(expected.mean(measure)), name
        if expected.one_view:
            assert found.percentages[group][found.view_key(name)] == pytest.approx(expected.by_view(measure)), name
    assert found.chance[group] == pytest.approx(expected.mean(metrics.MEASURES["chance"]))
    alone = [p for p in expected.probes if not any(any(hits) for key, hits in expected.matches.items() if key[0] == p)]
    counts = {"probes": len(expected.probes), "gallery": len(expected.gallery), "probes without a match": len(alone)}
    if expected.one_view:
        unmatched = sum(not any(hits) for hits in expected.matches.values())
        counts |= {"comparisons": len(expected.matches), "comparisons without a match": unmatched}
        matrix = found.matrices[group]
        for cell, value in expected.cells(metrics.MEASURES[found.measures[0]], whole=True).items():
            row, column = map(matrix.views.index, cell)
            assert matrix.values[row, column] == pytest.approx(value)
    else:
        assert group not in found.matrices
    assert found.counts[group] == counts


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("metric", "missing", "levels"), [("euc", 0.0, None), ("euc", 0.3, 2), ("cos", 0.3, None)])
def test_published_protocols(name: str, metric: str, missing: float, levels: int | None) -> None:
    published = PUBLISHED[name]
    columns = sequences(published.types, published.views, missing, levels)
    features, ids, types, views = columns
    found = evaluate_detailed(*columns, name, metric)
    assert list(found.percentages) == list(published.groups)
    assert found.measures == tuple(published.measures)
    matrix, cameras = distances(features, metric), [*map(published.camera, views)]
    for group, of_types in published.groups.items():
        probes, gallery = ([n for n, kind in enumerate(types) if kind in chosen] for chosen in of_types)
        unmatched = "counted as wrong" if group in published.wrong else "left out"
        rule = published.one_view, published.exclusion, unmatched
        check_numbers(found, group, Comparisons(matrix, ids, cameras, probes, gallery, *rule))
    notes = [note.partition(": ") for note in found.notes]
    assert {group for group, *_ in notes} == {g for g, n in found.counts.items() if n["probes without a match"]} | {
        group for group, own in found.counts.items() if own.get("comparisons without a match")
    }
    for group, _, note in notes:
        assert note.endswith("(counted as wrong)" if group in published.wrong else "(left out)")


def test_gait3d_and_its_probe_set() -> None:
    columns = sequences(["camera1_videos0", "camera2_videos3"], ["seq0", "seq1"], 0.2, subjects=12)
    keys = ["-".join(key) for key in zip(*columns[1:], strict=True)]
    probes, gallery = range(0, len(keys), 3), [n for n in range(len(keys)) if n % 3]
    listed = [*(keys[n] for n in probes), "9999-camera0_videos0-seq0"]
    found = evaluate_detailed(*columns, protocol="Gait3D", probes=listed)
    assert found.measures == ("rank-1", "rank-5", "rank-10", "mAP", "mINP")
    check_numbers(
        found, "probe", Comparisons(distances(columns[0]), columns[1], columns[3], probes, gallery, False, "nothing")
    )
    assert f"1 of the {len(listed)} keys of PROBE_SET are not in the data" in found.notes
    for missing in (None, []):
        with pytest.raises(UserError, match="PROBE_SET is missing"):
            evaluate(*columns, protocol="Gait3D", probes=missing)
    with pytest.raises(UserError, match=r"none of the 1 keys of PROBE_SET .* keys are like 075-camera1_videos0-seq0"):
        evaluate(*columns, protocol="Gait3D", probes=["0-camera1_videos0-seq0"])


def test_ccgr_mini_and_its_gallery_set_freegait_and_its_probe_set() -> None:
    columns = sequences(["NM1", "DTBXHVCL1"], ["22_5_1.avi", "over.avi"], 0.2, subjects=12)
    keys = ["-".join(key) for key in zip(*columns[1:], strict=True)]
    chosen, others = [*range(0, len(keys), 4)], [n for n in range(len(keys)) if n % 4]
    listed, matrix = [keys[n] for n in chosen], distances(columns[0])
    for name, lists, probes, gallery in (
        ("CCGR-Mini", {"gallery": listed, "probes": keys[:1]}, others, chosen),
        ("FreeGait", {"probes": listed, "gallery": keys[:1]}, chosen, others),
    ):
        found = evaluate_detailed(*columns, name, **lists)
        assert found.measures == ("rank-1", "rank-5", "rank-10", "mAP", "mINP")
        check_numbers(found, "probe", Comparisons(matrix, columns[1], columns[3], probes, gallery, False, "nothing"))
        assert evaluate(*columns, name, **lists) == found.percentages
    with pytest.raises(UserError, match="GALLERY_SET is missing"):
        evaluate(*columns, "CCGR-Mini", probes=listed)


def test_view_270_of_casia_e_is_in_no_mean() -> None:
    whole = sequences(_CASIA_E, ["000", "090", "270"])
    assert evaluate(*whole, "CASIA-E") == evaluate(*keep(whole, lambda _, __, view: view != "270"), "CASIA-E")


def test_a_protocol_is_a_declaration() -> None:
    """Patterns, a gallery of a group, excluded ids, several measures by view; a view that only the probes have."""
    declared = {
        "name": "mine",
        "gallery": {"types": "nm-*", "not_ids": "080"},
        "groups": {
            "bag": {"probes": {"types": "*g-0?"}},
            "coat": {"probes": {"types": "cl-02", "views": "018"}, "gallery": {"types": "cl-01"}},
        },
        "one_view_at_a_time": True,
        "exclusion": "identical view",
        "measures": ["rank-1", "rank-2"],
    }
    columns = keep(casia(missing=0.2), lambda _, kind, view: kind[:2] != "nm" or view != "090")
    features, ids, types, views = columns
    found = evaluate_detailed(*columns, protocol=declared)
    matrix = distances(features)
    bag, coat = [t[:2] == "bg" for t in types], [k == ("cl-02", "018") for k in zip(types, views, strict=True)]
    normal = [t[:2] == "nm" and i != "080" for t, i in zip(types, ids, strict=True)]
    for group, probes, gallery in (("bag", bag, normal), ("coat", coat, [t == "cl-01" for t in types])):
        chosen = np.flatnonzero(probes).tolist(), np.flatnonzero(gallery).tolist()
        check_numbers(found, group, Comparisons(matrix, ids, views, *chosen, True, "identical view"))


def test_numbers_made_by_hand() -> None:
    """Two subjects at 0 and 10 on a line, two views; B's bag makes it look like A in view 090."""
    rows = [
        ("A", "nm-01", "000", 0.0), ("B", "nm-01", "000", 10.0), ("A", "nm-02", "090", 1.0),
        ("B", "nm-02", "090", 11.0), ("A", "nm-05", "000", 2.0), ("B", "nm-06", "000", 9.0),
        ("B", "bg-01", "000", 4.0), ("A", "bg-01", "090", 4.0), ("A", "bg-02", "090", 7.0),
    ]  # fmt: skip
    *names, at = (list(column) for column in zip(*rows, strict=True))
    found = evaluate_detailed(torch.tensor(at)[:, None, None], *names)
    assert found.percentages == {
        "NM": {"rank-1": 100.0, "per view": {"000": 100.0}},
        # View 000: B at 4 is nearer to A at 1 than to B at 11: 0. View 090: A at 4 is right, A at 7 wrong: 50.
        "BG": {"rank-1": 25.0, "per view": {"000": 0.0, "090": 50.0}},
    }
    assert found.headlines == {"NM": 100.0, "BG": 25.0}
    assert found.notes == ("CL: no probe sequences of type cl-01, cl-02 in the data (group skipped)",)
    np.testing.assert_array_equal(found.matrices["BG"].values, [[0, 0], [50, 50]])


def test_arrays_tensors_and_precisions_agree() -> None:
    features, *names = casia(missing=0.1)
    expected = evaluate(features, *names)
    frozen = features.copy()
    frozen.flags.writeable = False
    for given in (
        torch.from_numpy(features).requires_grad_(),
        features.astype(np.float64),
        frozen,
        np.asfortranarray(features),
    ):
        assert evaluate(given, *map(np.array, names)) == expected
    assert evaluate_detailed(features, *names, options=Options(device="cpu", max_bytes=1)).percentages == expected


def test_groups_that_do_not_count_are_skipped() -> None:
    columns = keep(casia(), lambda subject, kind, _: kind[:2] != "cl" or subject == "075")
    columns[1][:] = [f"{i}x" if t[:2] == "cl" else i for i, t in zip(columns[1], columns[2], strict=True)]
    found = evaluate_detailed(*columns)
    assert list(found.percentages) == list(found.chance) == list(found.matrices) == ["NM", "BG"]
    assert found.notes == ("CL: no probe with a true match in the gallery, identical view excluded (group skipped)",)
    ccpg = sequences(*_CCPG_DATA)
    options = Options(verification=True, open_set=True, intervals=10)
    found = evaluate_detailed(*keep(ccpg, lambda _, t, __: t not in ("U0_D3", "U3_D3")), "CCPG", options=options)
    assert list(found.percentages) == list(found.verification) == list(found.open_set) == ["CL", "DN", "BG"]
    with pytest.raises(UserError, match="the gallery of UP is empty"):
        evaluate(*keep(ccpg, lambda _, t, __: t != "U0_D3"), protocol="CCPG")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "CASIA-C"}, "CASIA-B"),
        ({"metric": "l2"}, "choose one of euc, cos"),
        ({"types": ["nm-01"]}, "180 of 180, 1, 180"),
        ({"features": np.zeros((180, 4), np.float32)}, r"\(sequences, C, P\)"),
        ({"features": np.zeros((180, 4, 3), np.uint8)}, "floating-point"),
        ({"features": np.zeros((0, 4, 3)), "ids": [], "types": [], "views": []}, "no sequences"),
        ({"features": np.where(np.arange(180) % 100 == 3, math.nan, 0.0)[:, None, None]}, "2 of 180 sequences"),
        ({"ids": [*map(str, range(180))]}, "no probe has a true match"),
    ],
)
def test_invalid_arguments(change: dict[str, Any], message: str) -> None:
    given = dict(zip(("features", "ids", "types", "views"), casia(), strict=True))
    with pytest.raises(UserError, match=message):
        evaluate(**{**given, **change})


@pytest.mark.parametrize(
    ("gallery", "probes", "exclusion", "message"),
    [
        ({"views": "1*"}, {"types": "cl-*"}, "nothing", r"gallery is empty.* view 1\*, .* views 000, 018, 090"),
        ({}, {"types": "x", "not_ids": "075"}, "nothing", r"no probes.* type x and not id 075"),
        ({"not_ids": "075"}, {"ids": "075"}, "nothing", "no probe has a true match in the gallery"),
        ({"views": "000"}, {"types": "cl-*", "views": "000"}, "identical view", r"one view only \(000\)"),
        ({"views": "000"}, {"types": "cl-*", "views": "000"}, SAME, r"one view only \(000\)"),
    ],
)
def test_a_protocol_is_checked_without_features(
    gallery: dict[str, Any], probes: dict[str, Any], exclusion: str, message: str
) -> None:
    def check(**selectors: dict[str, Any]) -> None:
        declared = {"name": "p", "gallery": gallery, "groups": {"g": {"probes": probes}}, "exclusion": exclusion}
        check_against_data(Protocol.model_validate({**declared, **selectors}), *casia()[1:])

    with pytest.raises(UserError, match=message):
        check()
    check(gallery={}, groups={"g": {"probes": {"types": "cl-*"}}})


def test_intervals_hold_the_number_and_shrink_with_subjects() -> None:
    columns, options = casia(missing=0.2), Options(intervals=200)
    found = evaluate_detailed(*columns, options=options)
    for group, values in found.percentages.items():
        low, high = found.intervals[group]["rank-1"]
        assert low <= values["rank-1"] <= high
    assert evaluate_detailed(*columns, options=options).intervals == found.intervals
    assert evaluate_detailed(*columns).intervals == {}
    many, widths = sequences(["01", "02"], ["x"], levels=2, subjects=120), []
    for subjects in (120, 30):
        some = tuple(column[: 2 * subjects] for column in many)
        low, high = evaluate_detailed(*some, "GREW", options=options).intervals["probe"]["rank-5"]
        widths.append(high - low)
    assert widths[0] < widths[1]
    assert evaluate_detailed(*(column[:2] for column in many), "GREW", options=options).intervals == {}


def rows(seed: int) -> Columns:
    """Some sequences missing; probes of a view that the gallery lacks, and one whose only match is in its own view."""
    rng = np.random.default_rng(seed)
    keys = [(f"{i:03d}", t, v) for i in range(6) for t in ("nm-01", "nm-02", "nm-05", "cl-01")
            for v in ("000-a", "000-b", "018", "090") if rng.random() > 0.15]  # fmt: skip
    keys = [key for key in keys if key[0] != "005" or key[1] not in GALLERY or key[2] == "018"]
    keys += [("001", "nm-05", "180"), ("009", "cl-01", "018")]
    people = rng.normal(size=(10, 4, 2))
    features = np.stack([people[int(i)] + 1.2 * rng.normal(size=(4, 2)) for i, _, _ in keys]).astype(np.float32)
    return features, *(list(column) for column in zip(*keys, strict=True))


def reranked(features: np.ndarray, probes: list[int], gallery: list[int]) -> np.ndarray:
    """(N, N) re-ranked distances from the probes of all groups to the gallery, NaN elsewhere."""
    plain, order = distances(features), [*probes, *gallery]
    found = np.full_like(plain, np.nan)
    settings = RE_RANK.k1, RE_RANK.k2, RE_RANK.weight
    found[np.ix_(probes, gallery)] = metrics.reranked(plain[np.ix_(order, order)].tolist(), len(probes), *settings)
    return found.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("unmatched", ["left out", "counted as wrong"])
@pytest.mark.parametrize(
    ("exclusion", "one_view", "re_rank"), [*product(("nothing", "identical view", SAME), (False, True), (False, True))]
)
def test_everything_counts_the_same_pairs(exclusion: str, one_view: bool, re_rank: bool, unmatched: str) -> None:
    check_the_same_pairs(["nm-01", "nm-02"], exclusion, one_view, re_rank, unmatched)


@pytest.mark.parametrize(
    ("exclusion", "one_view", "re_rank"),
    [*product(("nothing", "identical view", SAME), (False, True), (False,)), ("nothing", False, True)],
)
def test_a_probe_never_meets_itself(exclusion: str, one_view: bool, re_rank: bool) -> None:
    check_the_same_pairs(["*"], exclusion, one_view, re_rank, "left out")
    features, *names = sequences(["a", "b"], ["x"], subjects=5)
    declared = {"name": "p", "gallery": {}, "groups": {"all": {"probes": {}}}}
    everyone = evaluate_detailed(np.zeros_like(features), *names, protocol=declared)
    assert everyone.chance["all"] == pytest.approx(100 / 9)
    assert everyone.notes == ("all: 10 of 10 probes are in the gallery too; none is compared with itself",)
    with pytest.raises(UserError, match="no probe has a true match"):
        evaluate(*keep((features, *names), lambda _, kind, __: kind == "a"), protocol=declared)


def check_the_same_pairs(
    gallery_types: list[str], exclusion: str, one_view: bool, re_rank: bool, unmatched: str
) -> None:
    """Ranks, pairs, searches and figures are derived from the same comparisons."""
    kinds = {"NM": ("nm-05",), "CL": ("cl-01", "nm-05")}
    declared = {
        "name": "all",
        "gallery": {"types": gallery_types},
        "groups": {name: {"probes": {"types": [*own]}, "unmatched": unmatched} for name, own in kinds.items()},
        "one_view_at_a_time": one_view,
        "exclusion": exclusion,
        "measures": ["rank-1", "rank-3", "mAP"],
        "view_until": "-",
    }
    features, ids, types, views = rows(0)
    protocol = Protocol.model_validate(declared)
    found = analysed(features, ids, types, views, protocol=protocol, re_rank=RE_RANK if re_rank else None)
    assert found.result.description.endswith("(k1 4, k2 3, lambda 0.3)") == re_rank
    gallery = [n for n, kind in enumerate(types) if "*" in gallery_types or kind in gallery_types]
    probes = [n for n, kind in enumerate(types) if kind not in GALLERY]
    matrix = reranked(features, probes, gallery) if re_rank else distances(features)
    cameras = [view.partition("-")[0] for view in views]
    for group, own in kinds.items():
        chosen = [n for n in probes if types[n] in own]
        expected = Comparisons(matrix, ids, cameras, chosen, gallery, one_view, exclusion, unmatched)
        check_numbers(found.result, group, expected)
        check_pairs(found, group, expected)
        check_searches(found.result, group, expected)
        check_figures(found, group, expected)


def check_pairs(found: Analysis, group: str, expected: Comparisons) -> None:
    genuine, impostor = expected.genuine, expected.impostor
    pairs = found.groups[group].pairs
    assert pairs.verification is found.result.verification[group]
    rates = pairs.verification
    assert (rates.genuine, rates.impostor) == (len(genuine), len(impostor))
    assert rates.auc == pytest.approx(metrics.auc(genuine, impostor), abs=1e-9)
    assert rates.eer == pytest.approx(metrics.eer(genuine, impostor), abs=1e-9)
    for far, tar in rates.tar_at_far.items():
        assert tar == pytest.approx(metrics.tar_at_far(genuine, impostor, far), nan_ok=True)
    for shares, of in ((pairs.genuine, genuine), (pairs.impostor, impostor)):
        wanted = np.histogram(of, pairs.edges)[0] / len(of)
        np.testing.assert_allclose(shares, wanted, atol=1.01 / len(of))  # one at an edge may fall to either side


def check_searches(result: EvaluationResult, group: str, expected: Comparisons) -> None:
    match, other, correct = [], [], []
    for (probe, _), ranked in expected.ranked.items():
        same = [expected.ids[n] == expected.ids[probe] for _, n in ranked]
        match.append(min((d for (d, _), hit in zip(ranked, same, strict=True) if hit), default=math.inf))
        other.append(min((d for (d, _), hit in zip(ranked, same, strict=True) if not hit), default=math.inf))
        correct.append(same[0])
    searches = result.open_set[group]
    assert (searches.mated, searches.non_mated) == (sum(m < math.inf for m in match), len(other))
    for fpir, rate in searches.dir_at_fpir.items():
        assert rate == pytest.approx(metrics.dir_at_fpir(match, other, correct, fpir), nan_ok=True)


def check_figures(found: Analysis, group: str, expected: Comparisons) -> None:
    shown = found.groups[group]
    assert shown.cmc.tolist() == pytest.approx(
        [expected.mean(lambda hits, k=k: metrics.rank_k(hits, k)) for k in range(1, RANKS + 1)]
    )
    hardest: list[tuple[float, int, str]] = []
    for entry in expected.margins():
        if all(expected.ids[entry[1]] != expected.ids[probe] for _, probe, _ in hardest):
            hardest.append(entry)
    assert len(shown.confusions) == min(4, len(hardest))
    for one, (margin, probe, view) in zip(shown.confusions, hardest, strict=False):
        ranked = expected.ranked[probe, view]
        assert (one.probe, one.rank) == (probe, expected.rank(probe, view))
        assert list(one.nearest) == [n for _, n in ranked[:5]]
        assert list(one.right) == [expected.ids[n] == expected.ids[probe] for n in one.nearest]
        assert expected.ids[one.match] == expected.ids[probe]
        np.testing.assert_allclose(one.distances, [d for d, _ in ranked[:5]], rtol=1e-5, atol=1e-6)
        assert one.match_distance - one.distances[0] == pytest.approx(margin, rel=1e-3, abs=1e-6)
    for share in shown.by_type:
        errors = [e for p in expected.probes if found.types[p] == share.name and (e := expected.error(p)) is not None]
        assert (share.probes, share.error) == (len(errors), pytest.approx(np.mean(errors)))
