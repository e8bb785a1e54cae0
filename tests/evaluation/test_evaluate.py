from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from dygait.errors import UserError
from dygait.evaluation import Options, ProbeGroup, Protocol, Selector, check_against_data, evaluate, evaluate_detailed
from reference import metrics

CASIA_TYPES = [*(f"nm-{k:02d}" for k in range(1, 7)), "bg-01", "bg-02", "cl-01", "cl-02"]
GALLERY = ["nm-01", "nm-02", "nm-03", "nm-04"]
GROUPS = {"NM": ["nm-05", "nm-06"], "BG": ["bg-01", "bg-02"], "CL": ["cl-01", "cl-02"]}


class Case:
    """Random sequences of a data set's shape, some of them missing; `levels` few makes distances tie."""

    def __init__(
        self,
        ids: list[str],
        types: list[str],
        views: list[str],
        missing: float = 0.0,
        levels: int | None = None,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = [(i, t, v) for i in ids for t in types for v in views if rng.random() >= missing]
        self.ids, self.types, self.views = ([row[k] for row in rows] for k in range(3))
        centre = {i: rng.normal(size=(4, 3)) for i in ids}
        features = np.stack([centre[i] + 0.8 * rng.normal(size=(4, 3)) for i in self.ids])
        self.features = (features if levels is None else np.floor(features * levels / 4)).astype(np.float32)

    @property
    def arguments(self) -> tuple[np.ndarray, list[str], list[str], list[str]]:
        return self.features, self.ids, self.types, self.views

    def keep(self, chosen: list[bool]) -> Case:
        for name in ("ids", "types", "views"):
            setattr(self, name, [x for x, kept in zip(getattr(self, name), chosen, strict=True) if kept])
        self.features = self.features[chosen]
        return self


def casia(views: int = 3, **keywords: Any) -> Case:
    return Case([f"{i:03d}" for i in range(75, 81)], CASIA_TYPES, [f"{18 * v:03d}" for v in range(views)], **keywords)


@pytest.mark.parametrize("metric", ["euc", "cos"])
@pytest.mark.parametrize(("missing", "levels"), [(0.0, None), (0.3, None), (0.3, 2)])
def test_casia_b_equals_the_slow_reference(metric: str, missing: float, levels: int | None) -> None:
    case = casia(missing=missing, levels=levels)
    data = metrics.Data(*case.arguments, metric)
    found = evaluate_detailed(*case.arguments, metric=metric)
    assert list(found.percentages) == ["NM", "BG", "CL"]
    for group, types in GROUPS.items():
        mean, per_view, cells = metrics.one_view_at_a_time(data, data.of_types(types), data.of_types(GALLERY))
        assert found.percentages[group]["rank-1"] == pytest.approx(mean)
        assert found.percentages[group]["per view"] == pytest.approx(per_view)
        matrix = found.matrices[group]
        for (probe_view, gallery_view), value in cells.items():
            at = matrix.views.index(probe_view), matrix.views.index(gallery_view)
            assert matrix.values[at] == pytest.approx(value)
        chance, *_ = metrics.one_view_at_a_time(data, data.of_types(types), data.of_types(GALLERY), name="chance")
        assert found.chance[group] == pytest.approx(chance)


@pytest.mark.parametrize(("missing", "levels"), [(0.0, None), (0.4, 2)])
def test_cross_view_equals_the_slow_reference(missing: float, levels: int | None) -> None:
    case = casia(missing=missing, levels=levels)
    data = metrics.Data(*case.arguments, "euc")
    found = evaluate_detailed(*case.arguments, protocol="CASIA-B/cross-view")
    gallery = data.of_types(["nm-02", "bg-02", "cl-02"])

    def exclude(p: int, g: int) -> bool:
        return case.ids[p] == case.ids[g] and case.views[p] == case.views[g]

    for group, kind in (("NM", "nm-01"), ("BG", "bg-01"), ("CL", "cl-01")):
        probes = data.of_types([kind])
        for name in ("rank-1", "mAP"):
            expected = metrics.whole_gallery(data, probes, gallery, name, exclude)
            assert found.percentages[group][name] == pytest.approx(expected)
        assert found.chance[group] == pytest.approx(metrics.whole_gallery(data, probes, gallery, "chance", exclude))
    assert not found.matrices


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_oumvlp_counts_probes_without_a_match_both_ways(missing: float) -> None:
    case = Case([f"{i:05d}" for i in range(8)], ["00", "01"], ["000", "015", "030", "180"], missing)
    data = metrics.Data(*case.arguments, "euc")
    found = evaluate_detailed(*case.arguments, protocol="OUMVLP")
    probes, gallery = data.of_types(["00"]), data.of_types(["01"])
    for group, wrong in (("all probes", True), ("probes with a match", False)):
        mean, per_view, _ = metrics.one_view_at_a_time(data, probes, gallery, unmatched_is_wrong=wrong)
        assert found.percentages[group]["rank-1"] == pytest.approx(mean)
        assert found.percentages[group]["per view"] == pytest.approx(per_view)
        pairs = [
            any(case.ids[p] == case.ids[g] and case.views[g] == view for g in gallery)
            for p in probes
            for view in {case.views[g] for g in gallery} - {case.views[p]}
        ]
        counts = found.counts[group]
        assert (counts["comparisons"], counts["comparisons without a match"]) == (len(pairs), pairs.count(False))
        assert (counts["probes"], counts["gallery"]) == (len(probes), len(gallery))
    rank1 = [found.percentages[g]["rank-1"] for g in ("all probes", "probes with a match")]
    if missing:
        assert rank1[0] < rank1[1]
        assert any("(counted as wrong)" in n for n in found.notes)
        assert any("(left out)" in n for n in found.notes)
    else:
        assert rank1[0] == rank1[1]
        assert not found.notes


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_grew_local_equals_the_slow_reference(missing: float) -> None:
    case = Case([f"{i:05d}" for i in range(1, 31)], ["01", "02"], ["x"], missing)
    extra = Case(["probe"], ["03"], ["a", "b"], seed=1)
    arguments = (np.concatenate([case.features, extra.features]), *(a + b for a, b in _names(case, extra)))
    data = metrics.Data(*arguments, "euc")
    found = evaluate_detailed(*arguments, protocol="GREW")
    for k in (1, 5, 10, 20):
        expected = metrics.whole_gallery(data, data.of_types(["02"]), data.of_types(["01"]), f"rank-{k}")
        assert found.percentages["probe"][f"rank-{k}"] == pytest.approx(expected)
    assert found.counts["probe"]["gallery"] == case.types.count("01")
    alone = sum(
        t == "02" and "01" not in [case.types[n] for n in range(len(case.ids)) if case.ids[n] == i]
        for i, t in zip(case.ids, case.types, strict=True)
    )
    assert found.counts["probe"]["probes without a match"] == alone
    assert bool(alone) == bool(missing) == bool(found.notes)


def _names(*cases: Case) -> list[tuple[list[str], ...]]:
    return [tuple(getattr(case, name) for case in cases) for name in ("ids", "types", "views")]


def gait3d() -> tuple[Case, list[str]]:
    case = Case([f"{i:04d}" for i in range(12)], ["camera1_videos0", "camera2_videos3"], ["seq0", "seq1"], 0.2)
    keys = ["-".join(key) for key in zip(case.ids, case.types, case.views, strict=True)]
    return case, [key for n, key in enumerate(keys) if n % 3 == 0]


def test_gait3d_equals_the_slow_reference() -> None:
    case, probes = gait3d()
    data = metrics.Data(*case.arguments, "euc")
    chosen = [n for n in range(len(case.ids)) if f"{case.ids[n]}-{case.types[n]}-{case.views[n]}" in probes]
    rest = [n for n in range(len(case.ids)) if n not in chosen]
    found = evaluate_detailed(*case.arguments, protocol="Gait3D", probes=[*probes, "9999-camera0_videos0-seq0"])
    assert list(found.percentages["probe"]) == ["rank-1", "rank-5", "rank-10", "mAP", "mINP"]
    for name, value in found.percentages["probe"].items():
        assert value == pytest.approx(metrics.whole_gallery(data, chosen, rest, name))
    assert found.counts["probe"]["probes"] == len(chosen)
    assert f"1 of the {len(probes) + 1} keys of PROBE_SET are not in the data" in found.notes


def test_gait3d_needs_its_probe_set() -> None:
    case, _ = gait3d()
    for missing in (None, []):
        with pytest.raises(UserError, match="PROBE_SET is missing"):
            evaluate(*case.arguments, protocol="Gait3D", probes=missing)
    with pytest.raises(UserError, match=r"none of the 1 keys of PROBE_SET .* keys are like 0000-camera1_videos0-seq0"):
        evaluate(*case.arguments, protocol="Gait3D", probes=["0-camera1_videos0-seq0"])


def tiny() -> tuple[torch.Tensor, list[str], list[str], list[str]]:
    """Two subjects at 0 and 10 on a line, two views; B's bag makes it look like A in view 090."""
    rows = [
        ("A", "nm-01", "000", 0.0),
        ("B", "nm-01", "000", 10.0),
        ("A", "nm-02", "090", 1.0),
        ("B", "nm-02", "090", 11.0),
        ("A", "nm-05", "000", 2.0),
        ("B", "nm-06", "000", 9.0),
        ("B", "bg-01", "000", 4.0),
        ("A", "bg-01", "090", 4.0),
        ("A", "bg-02", "090", 7.0),
    ]
    ids, types, views, at = (list(column) for column in zip(*rows, strict=True))
    return torch.tensor(at)[:, None, None], ids, types, views


def test_numbers_made_by_hand() -> None:
    found = evaluate_detailed(*tiny())
    assert found.percentages == {
        "NM": {"rank-1": 100.0, "per view": {"000": 100.0}},
        # View 000: B at 4 is nearer to A at 1 than to B at 11: 0. View 090: A at 4 is right, A at 7 wrong: 50.
        "BG": {"rank-1": 25.0, "per view": {"000": 0.0, "090": 50.0}},
    }
    assert found.chance == {"NM": 50.0, "BG": 50.0}
    assert found.counts["BG"] == {
        "probes": 3,
        "gallery": 4,
        "probes without a match": 0,
        "comparisons": 3,
        "comparisons without a match": 0,
    }
    assert found.notes == ("CL: no probe sequences of type cl-01, cl-02 in the data (group skipped)",)
    assert found.headlines == {"NM": 100.0, "BG": 25.0}
    np.testing.assert_array_equal(found.matrices["BG"].values, [[0, 0], [50, 50]])


def test_ties_go_to_the_first_in_the_gallery() -> None:
    ids, types, views = ["A", "B", "A"], ["01", "01", "02"], ["x", "x", "x"]
    features = np.ones((3, 2, 2), np.float32)
    assert evaluate(features, ids, types, views, "GREW")["probe"]["rank-1"] == 100
    assert evaluate(features, ["B", "A", "A"], types, views, "GREW")["probe"]["rank-1"] == 0


def test_arrays_tensors_and_precisions_agree() -> None:
    case = casia(missing=0.1)
    expected = evaluate(*case.arguments)
    features, *names = case.arguments
    frozen = features.copy()
    frozen.flags.writeable = False
    for given in (
        torch.from_numpy(features),
        torch.from_numpy(features).requires_grad_(),
        features.astype(np.float64),
        frozen,
        np.asfortranarray(features),
    ):
        assert evaluate(given, *names) == expected
    assert evaluate(features, *(np.array(column) for column in names)) == expected
    assert evaluate_detailed(*case.arguments, options=Options(device="cpu", max_bytes=1)).percentages == expected


def test_a_group_without_any_match_is_skipped() -> None:
    case = casia()
    case.keep([not t.startswith("cl") or i == "075" for i, t in zip(case.ids, case.types, strict=True)])
    case.ids = [f"{i}x" if t.startswith("cl") else i for i, t in zip(case.ids, case.types, strict=True)]
    found = evaluate_detailed(*case.arguments)
    assert list(found.percentages) == list(found.chance) == list(found.matrices) == ["NM", "BG"]
    assert found.notes == ("CL: no probe with a true match in the gallery, identical view excluded (group skipped)",)


def test_a_view_that_only_probes_have() -> None:
    case = casia(views=3)
    case.keep([v != "036" or t not in GALLERY for t, v in zip(case.types, case.views, strict=True)])
    found = evaluate_detailed(*case.arguments)
    data = metrics.Data(*case.arguments, "euc")
    mean, per_view, _ = metrics.one_view_at_a_time(data, data.of_types(GROUPS["NM"]), data.of_types(GALLERY))
    assert list(per_view) == ["000", "018", "036"]
    assert found.percentages["NM"]["per view"] == pytest.approx(per_view)
    assert found.percentages["NM"]["rank-1"] == pytest.approx(mean)


def test_probes_without_a_match_are_counted() -> None:
    case = casia()
    case.keep([i != "075" or t not in GALLERY for i, t in zip(case.ids, case.types, strict=True)])
    found = evaluate_detailed(*case.arguments)
    assert found.counts["NM"]["probes without a match"] == 2 * 3
    assert "NM: 6 of 36 probes have no true match in the gallery (left out)" in found.notes
    assert found.chance["NM"] == pytest.approx(20)


@pytest.mark.parametrize("protocol", ["CASIA-B", "CASIA-B/cross-view"])
def test_one_view_is_not_enough(protocol: str) -> None:
    with pytest.raises(UserError, match=r"one view only \(000\)"):
        evaluate(*casia(views=1).arguments, protocol=protocol)


def test_empty_gallery_no_probes_no_matches() -> None:
    case = casia()
    no_gallery = casia().keep([t not in GALLERY for t in case.types])
    with pytest.raises(UserError, match=r"gallery is empty.* nm-01, nm-02, nm-03, nm-04, .* bg-01"):
        evaluate(*no_gallery.arguments)
    no_probes = casia().keep([t in GALLERY for t in case.types])
    with pytest.raises(UserError, match=r"no probes.* nm-05, nm-06; type bg-01"):
        evaluate(*no_probes.arguments)
    unmatched = casia()
    unmatched.ids = [i if t in GALLERY else f"{i}x" for i, t in zip(case.ids, case.types, strict=True)]
    with pytest.raises(UserError, match="no probe has a true match"):
        evaluate(*unmatched.arguments)


def test_user_mistakes() -> None:
    features, ids, types, views = casia().arguments
    with pytest.raises(UserError, match="CASIA-B"):
        evaluate(features, ids, types, views, "CASIA-C")
    with pytest.raises(UserError, match="choose one of euc, cos"):
        evaluate(features, ids, types, views, metric="l2")
    with pytest.raises(UserError, match="180 of 180, 179, 180"):
        evaluate(features, ids, types[1:], views)
    with pytest.raises(UserError, match=r"\(sequences, C, P\)"):
        evaluate(features[0], ids, types, views)
    with pytest.raises(UserError, match="floating-point"):
        evaluate(features.astype(np.uint8), ids, types, views)
    with pytest.raises(UserError, match="no sequences"):
        evaluate(features[:0], [], [], [])
    features[3, 0, 0], features[3, 1, 0], features[7, 0, 1] = math.nan, math.nan, math.inf
    with pytest.raises(UserError, match="2 of 180 sequences"):
        evaluate(features, ids, types, views)


def test_a_protocol_is_a_declaration() -> None:
    """As SUSTech1K and CCPG need: patterns, a gallery per group, several measures by view, another exclusion."""
    mine = Protocol(
        name="mine",
        gallery=Selector(types=["nm-*"], not_ids=["080"]),
        groups={
            "bag": ProbeGroup(probes=Selector(types=["*g-0?"])),
            "coat": ProbeGroup(probes=Selector(types=["cl-02"], views=["018"]), gallery=Selector(types=["cl-01"])),
        },
        one_view_at_a_time=True,
        exclusion="identical view",
        measures=["rank-1", "rank-2"],
    )
    case = casia(missing=0.2)
    data = metrics.Data(*case.arguments, "euc")
    found = evaluate_detailed(*case.arguments, protocol=mine)
    normal = [n for n in data.of_types(CASIA_TYPES[:6]) if case.ids[n] != "080"]
    coats = [n for n in data.of_types(["cl-02"]) if case.views[n] == "018"]
    for group, probes, gallery in (
        ("bag", data.of_types(["bg-01", "bg-02"]), normal),
        ("coat", coats, data.of_types(["cl-01"])),
    ):
        for name, key in (("rank-1", "per view"), ("rank-2", "rank-2 per view")):
            mean, per_view, _ = metrics.one_view_at_a_time(data, probes, gallery, name=name)
            assert found.percentages[group][name] == pytest.approx(mean)
            assert found.percentages[group][key] == pytest.approx(per_view)
    assert found.counts["coat"]["gallery"] == len(data.of_types(["cl-01"]))

    whole = Protocol(
        name="whole",
        gallery=Selector(types=["nm-01"]),
        groups={"bag": mine.groups["bag"]},
        exclusion="identical view",
        measures=["mINP"],
    )
    expected = metrics.whole_gallery(
        data,
        data.of_types(["bg-01", "bg-02"]),
        data.of_types(["nm-01"]),
        "mINP",
        lambda p, g: case.views[p] == case.views[g],
    )
    assert evaluate(*case.arguments, protocol=whole)["bag"]["mINP"] == pytest.approx(expected)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_oumvlp_with_the_gallery_of_all_views(missing: float) -> None:
    case = Case([f"{i:05d}" for i in range(8)], ["00", "01"], ["000", "015", "030"], missing, levels=2)
    data = metrics.Data(*case.arguments, "euc")
    found = evaluate_detailed(*case.arguments, protocol="OUMVLP/cross-view")
    probes, gallery = data.of_types(["00"]), data.of_types(["01"])

    def exclude(p: int, g: int) -> bool:
        return case.ids[p] == case.ids[g] and case.views[p] == case.views[g]

    for name in ("rank-1", "mAP"):
        right = metrics.whole_gallery(data, probes, gallery, name, exclude)
        assert right is not None
        assert found.percentages["probes with a match"][name] == pytest.approx(right)
        scores = [metrics.MEASURES[name](data.ranked(p, gallery, exclude)) for p in probes]
        assert found.percentages["all probes"][name] == pytest.approx(100 * sum(v or 0.0 for v in scores) / len(probes))


def test_sustech1k_equals_the_slow_reference() -> None:
    types = ["00-nm", "01-nm", "01-bg", "02-cl", "03-cr-ub", "04-uf", "02-oc", "01-nt", "00-bg"]
    case = Case([f"{i:04d}" for i in range(6)], types, ["000", "045-far", "090"], 0.2, levels=2)
    data = metrics.Data(*case.arguments, "euc")
    found = evaluate_detailed(*case.arguments, protocol="SUSTech1K")
    held = {
        "Normal": ["01-nm"], "Bag": ["bg"], "Clothing": ["cl"], "Carrying": ["cr"], "Umbrella": ["ub"],
        "Uniform": ["uf"], "Occlusion": ["oc"], "Night": ["nt"], "Overall": ["01", "02", "03", "04"],
    }  # fmt: skip
    assert list(found.percentages) == list(held)
    for group, parts in held.items():
        probes = [n for n, kind in enumerate(case.types) if any(part in kind for part in parts)]
        for name, key in (("rank-1", "per view"), ("rank-5", "rank-5 per view")):
            mean, per_view, _ = metrics.one_view_at_a_time(data, probes, data.of_types(["00-nm"]), name=name)
            assert found.percentages[group][name] == pytest.approx(mean)
            assert found.percentages[group][key] == pytest.approx(per_view)


CCPG = {
    "CL": (["U0_D0_BG", "U0_D0"], ["U1_D1", "U2_D2", "U3_D3"]),
    "UP": (["U3_D3"], ["U0_D3"]),
    "DN": (["U1_D0"], ["U1_D1"]),
    "BG": (["U0_D0_BG"], ["U0_D0"]),
}


def ccpg() -> Case:
    types = ["U0_D0", "U0_D0_BG", "U1_D1", "U2_D2", "U3_D3", "U0_D3", "U1_D0"]
    return Case([f"{i:03d}" for i in range(5)], types, ["06_1", "06_2", "07_1", "10_1"], 0.2, levels=2)


def test_ccpg_excludes_the_same_person_by_the_same_camera() -> None:
    case = ccpg()
    data = metrics.Data(*case.arguments, "euc")
    found = evaluate_detailed(*case.arguments, protocol="CCPG")

    def exclude(p: int, g: int) -> bool:
        return case.ids[p] == case.ids[g] and case.views[p].split("_")[0] == case.views[g].split("_")[0]

    for group, (probes, gallery) in CCPG.items():
        assert list(found.percentages[group]) == ["rank-1", "mAP", "mINP"]
        for name, value in found.percentages[group].items():
            expected = metrics.whole_gallery(data, data.of_types(probes), data.of_types(gallery), name, exclude)
            assert value == pytest.approx(expected)


def test_ccpg_one_camera_at_a_time() -> None:
    case = ccpg()
    found = evaluate_detailed(*case.arguments, protocol="CCPG/single-view")
    data = metrics.Data(*case.arguments, "euc")
    data.views = [view.split("_")[0] for view in case.views]
    for group, (probes, gallery) in CCPG.items():
        mean, per_view, _ = metrics.one_view_at_a_time(data, data.of_types(probes), data.of_types(gallery))
        assert found.percentages[group]["rank-1"] == pytest.approx(mean)
        assert found.percentages[group]["per view"] == pytest.approx(per_view)


def test_a_group_that_the_data_has_nothing_of_is_skipped() -> None:
    case = ccpg().keep([kind not in ("U0_D3", "U3_D3") for kind in ccpg().types])
    found = evaluate_detailed(
        *case.arguments, protocol="CCPG", options=Options(verification=True, open_set=True, intervals=10)
    )
    assert list(found.percentages) == list(found.verification) == list(found.open_set) == ["CL", "DN", "BG"]
    assert "UP: no probe sequences of type U3_D3 in the data (group skipped)" in found.notes
    case = ccpg().keep([kind != "U0_D3" for kind in ccpg().types])
    with pytest.raises(UserError, match="the gallery of UP is empty"):
        evaluate(*case.arguments, protocol="CCPG")


def test_intervals_hold_the_number_and_shrink_with_subjects() -> None:
    case = casia(missing=0.2)
    found = evaluate_detailed(*case.arguments, options=Options(intervals=200))
    for group, values in found.percentages.items():
        low, high = found.intervals[group]["rank-1"]
        assert low <= values["rank-1"] <= high
    assert evaluate_detailed(*case.arguments, options=Options(intervals=200)).intervals == found.intervals
    assert evaluate_detailed(*case.arguments).intervals == {}
    many = Case([f"{i:05d}" for i in range(120)], ["01", "02"], ["x"], levels=2)
    few = many_to_few(many, 30)
    widths = []
    for some in (few, many):
        low, high = evaluate_detailed(*some.arguments, protocol="GREW", options=Options(intervals=200)).intervals[
            "probe"
        ]["rank-5"]
        widths.append(high - low)
    assert widths[1] < widths[0]
    alone = evaluate_detailed(*many_to_few(many, 1).arguments, protocol="GREW", options=Options(intervals=200))
    assert alone.intervals == {}


def many_to_few(case: Case, subjects: int) -> Case:
    few = Case(["x"], ["01"], ["x"])
    for name in ("features", "ids", "types", "views"):
        setattr(few, name, getattr(case, name)[: 2 * subjects])
    return few


def test_a_protocol_is_checked_without_features() -> None:
    case = casia()
    names = case.arguments[1:]

    def check(gallery: dict[str, Any], probes: dict[str, Any], names: Any = names, exclusion: str = "nothing") -> None:
        declared = {"name": "p", "gallery": gallery, "groups": {"g": {"probes": probes}}, "exclusion": exclusion}
        check_against_data(Protocol.model_validate(declared), *names)

    check({"types": "nm-*"}, {"types": "cl-*"})
    with pytest.raises(UserError, match=r"gallery is empty.* view 1\*, the data has views 000, 018, 036"):
        check({"views": "1*"}, {"types": "cl-*"})
    with pytest.raises(UserError, match=r"no probes.* type x and not id 075"):
        check({}, {"types": "x", "not_ids": "075"})
    with pytest.raises(UserError, match="no probe has a true match in the gallery"):
        check({"not_ids": "075"}, {"ids": "075"})
    with pytest.raises(UserError, match=r"one view only \(000\)"):
        check({}, {"types": "cl-*"}, casia(views=1).arguments[1:], "same id in the same view")
