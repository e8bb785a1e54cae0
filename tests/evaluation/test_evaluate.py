"""Evaluation against plain loops over comparisons, under every kind of protocol."""

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
    """Return random sequences, some of them missing; few `levels` make distances tie."""
    rng = np.random.default_rng(0)
    ids = [f"{75 + i:03d}" for i in range(subjects)]
    rows = [(i, t, v) for i in ids for t in types for v in views if rng.random() >= missing]
    centre = {i: rng.normal(size=(4, 3)) for i in ids}
    features = np.stack([centre[i] + 0.8 * rng.normal(size=(4, 3)) for i, _, _ in rows])
    features = (features if levels is None else np.floor(features * levels / 4)).astype(np.float32)
    return features, *(list(column) for column in zip(*rows, strict=True))


def casia(**keywords: Any) -> Columns:
    return sequences(CASIA_TYPES, THREE, subjects=6, **keywords)


def select(columns: Columns, predicate: Callable[[str, str, str], bool]) -> Columns:
    rows = [n for n, key in enumerate(zip(*columns[1:], strict=True)) if predicate(*key)]
    return columns[0][rows], *([column[n] for n in rows] for column in columns[1:])


def check_result(result: EvaluationResult, group: str, expected: Comparisons) -> None:
    for name in result.measures:
        measure = metrics.MEASURES[name]
        assert result.percentages[group][name] == pytest.approx(expected.mean(measure)), name
        if expected.one_view:
            assert result.percentages[group][result.view_key(name)] == pytest.approx(expected.by_view(measure)), name
    assert result.chance[group] == pytest.approx(expected.mean(metrics.MEASURES["chance"]))
    matched = {probe for (probe, _), hits in expected.matches.items() if any(hits)}
    counts = {"probes": len(expected.probes), "gallery": len(expected.gallery)}
    counts["probes without a match"] = len({*expected.probes} - matched)
    if expected.one_view:
        unmatched = sum(not any(hits) for hits in expected.matches.values())
        counts |= {"comparisons": len(expected.matches), "comparisons without a match": unmatched}
        matrix = result.matrices[group]
        for cell, value in expected.cells(metrics.MEASURES[result.measures[0]], whole=True).items():
            row, column = map(matrix.views.index, cell)
            assert matrix.values[row, column] == pytest.approx(value)
    else:
        assert group not in result.matrices
    assert result.counts[group] == counts


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("metric", "missing", "levels"), [("euc", 0.0, None), ("euc", 0.3, 2), ("cos", 0.3, None)])
def test_published_protocols(name: str, metric: str, missing: float, levels: int | None) -> None:
    published = PUBLISHED[name]
    columns = sequences(published.types, published.views, missing, levels)
    features, ids, types, views = columns
    result = evaluate_detailed(*columns, name, metric)
    assert list(result.percentages) == list(published.groups)
    assert result.measures == tuple(published.measures)
    matrix, cameras = distances(features, metric), [*map(published.camera, views)]
    for group, group_types in published.groups.items():
        probes, gallery = ([n for n, kind in enumerate(types) if kind in selected] for selected in group_types)
        unmatched = "counted as wrong" if group in published.wrong else "left out"
        rule = published.one_view, published.exclusion, unmatched
        check_result(result, group, Comparisons(matrix, ids, cameras, probes, gallery, *rule))
    notes = [note.partition(": ") for note in result.notes]
    keys = "probes without a match", "comparisons without a match"
    assert {group for group, *_ in notes} == {g for g, counts in result.counts.items() if any(map(counts.get, keys))}
    for group, _, note in notes:
        assert note.endswith("(counted as wrong)" if group in published.wrong else "(left out)")


def test_probe_set_of_gait3d() -> None:
    columns = sequences(["camera1_videos0", "camera2_videos3"], ["seq0", "seq1"], 0.2, subjects=12)
    keys = ["-".join(key) for key in zip(*columns[1:], strict=True)]
    probes, gallery = range(0, len(keys), 3), [n for n in range(len(keys)) if n % 3]
    listed = [*(keys[n] for n in probes), "9999-camera0_videos0-seq0"]
    result = evaluate_detailed(*columns, protocol="Gait3D", probes=listed)
    assert result.measures == ("rank-1", "rank-5", "rank-10", "mAP", "mINP")
    check_result(
        result, "probe", Comparisons(distances(columns[0]), columns[1], columns[3], probes, gallery, False, "nothing")
    )
    assert f"1 of the {len(listed)} keys of PROBE_SET are not in the data" in result.notes
    for missing in (None, []):
        with pytest.raises(UserError, match="PROBE_SET is missing"):
            evaluate(*columns, protocol="Gait3D", probes=missing)
    with pytest.raises(UserError, match=r"none of the 1 keys of PROBE_SET .* keys are like 075-camera1_videos0-seq0"):
        evaluate(*columns, protocol="Gait3D", probes=["0-camera1_videos0-seq0"])


def test_gallery_set_of_ccgr_mini_and_probe_set_of_freegait() -> None:
    columns = sequences(["NM1", "DTBXHVCL1"], ["22_5_1.avi", "over.avi"], 0.2, subjects=12)
    keys = ["-".join(key) for key in zip(*columns[1:], strict=True)]
    selected, unlisted = [*range(0, len(keys), 4)], [n for n in range(len(keys)) if n % 4]
    listed, matrix = [keys[n] for n in selected], distances(columns[0])
    for name, lists, probes, gallery in (
        ("CCGR-Mini", {"gallery": listed, "probes": keys[:1]}, unlisted, selected),
        ("FreeGait", {"probes": listed, "gallery": keys[:1]}, selected, unlisted),
    ):
        result = evaluate_detailed(*columns, name, **lists)
        assert result.measures == ("rank-1", "rank-5", "rank-10", "mAP", "mINP")
        check_result(result, "probe", Comparisons(matrix, columns[1], columns[3], probes, gallery, False, "nothing"))
        assert evaluate(*columns, name, **lists) == result.percentages
    with pytest.raises(UserError, match="GALLERY_SET is missing"):
        evaluate(*columns, "CCGR-Mini", probes=listed)


def test_casia_e_ignores_view_270() -> None:
    columns = sequences(_CASIA_E, ["000", "090", "270"])
    assert evaluate(*columns, "CASIA-E") == evaluate(*select(columns, lambda _, __, view: view != "270"), "CASIA-E")


def test_a_declared_protocol() -> None:
    """Patterns, a gallery per group, excluded ids, several measures by view; a view that only probes have."""
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
    columns = select(casia(missing=0.2), lambda _, kind, view: kind[:2] != "nm" or view != "090")
    features, ids, types, views = columns
    result = evaluate_detailed(*columns, protocol=declared)
    matrix = distances(features)
    bag, coat = [t[:2] == "bg" for t in types], [k == ("cl-02", "018") for k in zip(types, views, strict=True)]
    normal = [t[:2] == "nm" and i != "080" for t, i in zip(types, ids, strict=True)]
    for group, probes, gallery in (("bag", bag, normal), ("coat", coat, [t == "cl-01" for t in types])):
        rows = np.flatnonzero(probes).tolist(), np.flatnonzero(gallery).tolist()
        check_result(result, group, Comparisons(matrix, ids, views, *rows, True, "identical view"))


def test_hand_calculated_example() -> None:
    """Two subjects at 0 and 10 on a line, two views; B's bag makes it look like A in view 090."""
    rows = [
        ("A", "nm-01", "000", 0.0), ("B", "nm-01", "000", 10.0), ("A", "nm-02", "090", 1.0),
        ("B", "nm-02", "090", 11.0), ("A", "nm-05", "000", 2.0), ("B", "nm-06", "000", 9.0),
        ("B", "bg-01", "000", 4.0), ("A", "bg-01", "090", 4.0), ("A", "bg-02", "090", 7.0),
    ]  # fmt: skip
    *names, positions = (list(column) for column in zip(*rows, strict=True))
    result = evaluate_detailed(torch.tensor(positions)[:, None, None], *names)
    assert result.percentages == {
        "NM": {"rank-1": 100.0, "per view": {"000": 100.0}},
        # View 000: B at 4 is nearer to A at 1 than to B at 11: 0. View 090: A at 4 is right, A at 7 wrong: 50.
        "BG": {"rank-1": 25.0, "per view": {"000": 0.0, "090": 50.0}},
    }
    assert result.headlines == {"NM": 100.0, "BG": 25.0}
    assert result.notes == ("CL: no probe sequences of type cl-01, cl-02 in the data (group skipped)",)
    np.testing.assert_array_equal(result.matrices["BG"].values, [[0, 0], [50, 50]])


def test_arrays_tensors_and_dtypes_agree() -> None:
    features, *names = casia(missing=0.1)
    expected = evaluate(features, *names)
    read_only = features.copy()
    read_only.flags.writeable = False
    for converted in (
        torch.from_numpy(features).requires_grad_(),
        features.astype(np.float64),
        read_only,
        np.asfortranarray(features),
    ):
        assert evaluate(converted, *map(np.array, names)) == expected
    assert evaluate_detailed(features, *names, options=Options(device="cpu", max_bytes=1)).percentages == expected


def test_groups_without_matches_are_skipped() -> None:
    columns = select(casia(), lambda subject, kind, _: kind[:2] != "cl" or subject == "075")
    columns[1][:] = [f"{i}x" if t[:2] == "cl" else i for i, t in zip(columns[1], columns[2], strict=True)]
    result = evaluate_detailed(*columns)
    assert list(result.percentages) == list(result.chance) == list(result.matrices) == ["NM", "BG"]
    assert result.notes == ("CL: no probe with a true match in the gallery, identical view excluded (group skipped)",)
    ccpg = sequences(*_CCPG_DATA)
    options = Options(verification=True, open_set=True, intervals=10)
    result = evaluate_detailed(*select(ccpg, lambda _, t, __: t not in ("U0_D3", "U3_D3")), "CCPG", options=options)
    assert list(result.percentages) == list(result.verification) == list(result.open_set) == ["CL", "DN", "BG"]
    with pytest.raises(UserError, match="the gallery of UP is empty"):
        evaluate(*select(ccpg, lambda _, t, __: t != "U0_D3"), protocol="CCPG")


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
    arguments = dict(zip(("features", "ids", "types", "views"), casia(), strict=True))
    with pytest.raises(UserError, match=message):
        evaluate(**{**arguments, **change})


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


def test_intervals_contain_the_result_and_shrink_with_subjects() -> None:
    columns, options = casia(missing=0.2), Options(intervals=200)
    result = evaluate_detailed(*columns, options=options)
    for group, values in result.percentages.items():
        low, high = result.intervals[group]["rank-1"]
        assert low <= values["rank-1"] <= high
    assert evaluate_detailed(*columns, options=options).intervals == result.intervals
    assert evaluate_detailed(*columns).intervals == {}
    many, widths = sequences(["01", "02"], ["x"], levels=2, subjects=120), []
    for subjects in (120, 30):
        subset = tuple(column[: 2 * subjects] for column in many)
        low, high = evaluate_detailed(*subset, "GREW", options=options).intervals["probe"]["rank-5"]
        widths.append(high - low)
    assert widths[0] < widths[1]
    assert evaluate_detailed(*(column[:2] for column in many), "GREW", options=options).intervals == {}


def irregular(seed: int) -> Columns:
    """Return sequences with gaps: some missing, a probe view not in the gallery, a probe matched in its view only."""
    rng = np.random.default_rng(seed)
    keys = [(f"{i:03d}", t, v) for i in range(6) for t in ("nm-01", "nm-02", "nm-05", "cl-01")
            for v in ("000-a", "000-b", "018", "090") if rng.random() > 0.15]  # fmt: skip
    keys = [key for key in keys if key[0] != "005" or key[1] not in GALLERY or key[2] == "018"]
    keys += [("001", "nm-05", "180"), ("009", "cl-01", "018")]
    means = rng.normal(size=(10, 4, 2))
    features = np.stack([means[int(i)] + 1.2 * rng.normal(size=(4, 2)) for i, _, _ in keys]).astype(np.float32)
    return features, *(list(column) for column in zip(*keys, strict=True))


def reranked_distances(features: np.ndarray, probes: list[int], gallery: list[int]) -> np.ndarray:
    """Return (N, N) re-ranked distances from the probes of all groups to the gallery, NaN for other pairs."""
    matrix, order = distances(features), [*probes, *gallery]
    reranked = np.full_like(matrix, np.nan)
    settings = RE_RANK.k1, RE_RANK.k2, RE_RANK.weight
    reranked[np.ix_(probes, gallery)] = metrics.reranked(matrix[np.ix_(order, order)].tolist(), len(probes), *settings)
    return reranked.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("unmatched", ["left out", "counted as wrong"])
@pytest.mark.parametrize(
    ("exclusion", "one_view", "re_rank"), [*product(("nothing", "identical view", SAME), (False, True), (False, True))]
)
def test_all_results_count_the_same_comparisons(exclusion: str, one_view: bool, re_rank: bool, unmatched: str) -> None:
    check_all_results(["nm-01", "nm-02"], exclusion, one_view, re_rank, unmatched)


@pytest.mark.parametrize(
    ("exclusion", "one_view", "re_rank"),
    [*product(("nothing", "identical view", SAME), (False, True), (False,)), ("nothing", False, True)],
)
def test_probes_never_match_themselves(exclusion: str, one_view: bool, re_rank: bool) -> None:
    check_all_results(["*"], exclusion, one_view, re_rank, "left out")
    features, *names = sequences(["a", "b"], ["x"], subjects=5)
    declared = {"name": "p", "gallery": {}, "groups": {"all": {"probes": {}}}}
    result = evaluate_detailed(np.zeros_like(features), *names, protocol=declared)
    assert result.chance["all"] == pytest.approx(100 / 9)
    assert result.notes == ("all: 10 of 10 probes are in the gallery too; none is compared with itself",)
    with pytest.raises(UserError, match="no probe has a true match"):
        evaluate(*select((features, *names), lambda _, kind, __: kind == "a"), protocol=declared)


def check_all_results(gallery_types: list[str], exclusion: str, one_view: bool, re_rank: bool, unmatched: str) -> None:
    """Check that ranks, pairs, open-set searches and the report are derived from the same comparisons."""
    groups = {"NM": ["nm-05"], "CL": ["cl-01", "nm-05"]}
    declared = {
        "name": "all",
        "gallery": {"types": gallery_types},
        "groups": {name: {"probes": {"types": kinds}, "unmatched": unmatched} for name, kinds in groups.items()},
        "one_view_at_a_time": one_view,
        "exclusion": exclusion,
        "measures": ["rank-1", "rank-3", "mAP"],
        "view_until": "-",
    }
    features, ids, types, views = irregular(0)
    protocol = Protocol.model_validate(declared)
    analysis = analysed(features, ids, types, views, protocol=protocol, re_rank=RE_RANK if re_rank else None)
    assert analysis.result.description.endswith("(k1 4, k2 3, lambda 0.3)") == re_rank
    gallery = [n for n, kind in enumerate(types) if "*" in gallery_types or kind in gallery_types]
    probes = [n for n, kind in enumerate(types) if kind not in GALLERY]
    matrix = reranked_distances(features, probes, gallery) if re_rank else distances(features)
    cameras = [view.partition("-")[0] for view in views]
    for group, kinds in groups.items():
        selected = [n for n in probes if types[n] in kinds]
        expected = Comparisons(matrix, ids, cameras, selected, gallery, one_view, exclusion, unmatched)
        check_result(analysis.result, group, expected)
        check_pairs(analysis, group, expected)
        check_searches(analysis.result, group, expected)
        check_report(analysis, group, expected)


def check_pairs(analysis: Analysis, group: str, expected: Comparisons) -> None:
    genuine, impostor = expected.genuine, expected.impostor
    pairs = analysis.groups[group].pairs
    assert pairs.verification is analysis.result.verification[group]
    rates = pairs.verification
    assert (rates.genuine, rates.impostor) == (len(genuine), len(impostor))
    assert rates.auc == pytest.approx(metrics.auc(genuine, impostor), abs=1e-9)
    assert rates.eer == pytest.approx(metrics.eer(genuine, impostor), abs=1e-9)
    for far, tar in rates.tar_at_far.items():
        assert tar == pytest.approx(metrics.tar_at_far(genuine, impostor, far), nan_ok=True)
    for shares, values in ((pairs.genuine, genuine), (pairs.impostor, impostor)):
        expected_shares = np.histogram(values, pairs.edges)[0] / len(values)
        # A distance at an edge may fall to either side.
        np.testing.assert_allclose(shares, expected_shares, atol=1.01 / len(values))


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


def check_report(analysis: Analysis, group: str, expected: Comparisons) -> None:
    report = analysis.groups[group]
    assert report.cmc.tolist() == pytest.approx(
        [expected.mean(lambda hits, k=k: metrics.rank_k(hits, k)) for k in range(1, RANKS + 1)]
    )
    hardest: list[tuple[float, int, str]] = []
    for entry in expected.margins():
        if all(expected.ids[entry[1]] != expected.ids[probe] for _, probe, _ in hardest):
            hardest.append(entry)
    assert len(report.confusions) == min(4, len(hardest))
    for confusion, (margin, probe, view) in zip(report.confusions, hardest, strict=False):
        ranked = expected.ranked[probe, view]
        assert (confusion.probe, confusion.rank) == (probe, expected.rank(probe, view))
        assert list(confusion.nearest) == [n for _, n in ranked[:5]]
        assert list(confusion.right) == [expected.ids[n] == expected.ids[probe] for n in confusion.nearest]
        assert expected.ids[confusion.match] == expected.ids[probe]
        np.testing.assert_allclose(confusion.distances, [d for d, _ in ranked[:5]], rtol=1e-5, atol=1e-6)
        assert confusion.match_distance - confusion.distances[0] == pytest.approx(margin, rel=1e-3, abs=1e-6)
    for share in report.by_type:
        probes = [p for p in expected.probes if analysis.types[p] == share.name]
        errors = [error for p in probes if (error := expected.error(p)) is not None]
        assert (share.probes, share.error) == (len(errors), pytest.approx(np.mean(errors)))
