"""The knobs of `people`: each changes the traits that it describes."""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest

from dygait.synthetic import real_people
from dygait.synthetic.body import Physique
from dygait.synthetic.gait import Gait
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.gait_style import Style
from dygait.synthetic.population import IMPAIRMENTS, Person, draw_person, impairment, paced, shaped
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import SubjectTraits, draw_subject, draw_walk
from dygait.synthetic.world import People, World

NO_SIGNATURE = np.zeros((2, 3, 3))
CYCLE = np.linspace(0, 1, 101)


def draw_subjects(count: int = 150, **knobs: float) -> list[SubjectTraits]:
    settings = Settings(count, 0, (20, 20), world=World(people=People(**knobs)))
    return [draw_subject(settings, subject) for subject in range(1, count + 1)]


def statures(subjects: list[SubjectTraits]) -> np.ndarray:
    return np.array([subject.physique.stature for subject in subjects])


def test_without_knobs_a_person_has_no_effect() -> None:
    person = draw_person(np.random.default_rng(0), People())
    assert person.gait_change == GaitChange()
    assert shaped(Physique(), person, People()) == Physique()
    assert paced(Style(), person, People()) == Style()


def test_women_and_men_have_their_means() -> None:
    subjects = draw_subjects(300, dimorphism=1.0)
    women = [subject for subject in subjects if subject.person.woman]
    men = [subject for subject in subjects if not subject.person.woman]
    assert 120 < len(women) < 180
    assert statures(women).mean() == pytest.approx(1.629, abs=0.02)
    assert statures(men).mean() == pytest.approx(1.756, abs=0.02)
    for name, larger in (("hip_scale", women), ("shoulder_scale", men), ("neck_girth", men)):
        smaller = men if larger is women else women
        assert np.mean([getattr(s.physique, name) for s in larger]) > np.mean(
            [getattr(s.physique, name) for s in smaller]
        )
    assert np.mean([s.style.stride_seconds for s in women]) < np.mean([s.style.stride_seconds for s in men])


def test_children_are_small_with_large_heads_and_fast_steps() -> None:
    children = draw_subjects(children=1.0)
    ages = np.array([child.person.age for child in children])
    assert 4 <= ages.min() < 6
    assert 14 < ages.max() <= 16
    assert np.corrcoef(ages, statures(children))[0, 1] > 0.9
    assert 0.9 < statures(children).min() < 1.15
    youngest, adult = children[int(ages.argmin())], Physique()
    assert youngest.physique.head_length > 1.15 * adult.head_length
    assert np.mean([child.style.stride_seconds for child in children]) < 0.93 * Style().stride_seconds
    assert 0.15 < np.mean([child.person.age < 16.5 for child in draw_subjects(200, children=0.25)]) < 0.35


def test_old_people_take_short_slow_steps() -> None:
    old, young = draw_subjects(100, old=1.0), draw_subjects(100)

    def stride(subject: SubjectTraits) -> float:
        return Gait(subject.physique, subject.style, NO_SIGNATURE).stride_metres / subject.physique.stature

    assert min(subject.person.age for subject in old) >= 65
    assert np.mean([stride(s) for s in old]) < 0.95 * np.mean([stride(s) for s in young])
    assert np.mean([s.style.stoop for s in old]) > np.mean([s.style.stoop for s in young]) + 0.004


def test_heavy_people_are_broad_and_variety_spreads_statures() -> None:
    heavy, default = draw_subjects(heavy=1.0), draw_subjects()
    assert np.mean([s.physique.build for s in heavy]) > 1.5 + np.mean([s.physique.build for s in default])
    spread = [statures(draw_subjects(variety=variety)).std() for variety in (0.0, 0.5, 1.0, 2.0)]
    assert spread[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(np.array(spread[1:]) / spread[2], [0.5, 1.0, 2.0], rtol=1e-6)


def test_within_spreads_the_walks_of_a_subject() -> None:
    def cadences(within: float) -> np.ndarray:
        settings = Settings(1, 0, (20, 20), world=World(people=People(walks=(20, 0, 0), within=within)))
        return np.array([draw_walk(settings, 1, kind).gait.cycles_per_frame for kind in settings.types])

    assert cadences(0.0).std() == pytest.approx(0, abs=1e-12)
    assert 1.5 < cadences(2.0).std() / cadences(1.0).std() < 2.5


@pytest.mark.parametrize("kind", IMPAIRMENTS)
@pytest.mark.parametrize("side", [0, 1])
def test_impaired_gaits_are_shorter_and_stay_on_the_ground(kind: str, side: int) -> None:
    change = impairment(kind, side, 1.0)
    usual, changed = Gait(Physique(), Style(), NO_SIGNATURE), Gait(Physique(), Style(), NO_SIGNATURE, change)
    assert changed.stride_metres < usual.stride_metres
    assert np.diff(changed.pose(CYCLE).joints["pelvis"][:, 0]).min() > 0
    assert min(joint[:, 2].min() for joint in changed.pose(CYCLE).joints.values()) > 0
    knees = [np.ptp(changed.leg_angles(CYCLE)[1][leg]) for leg in (0, 1)]
    if kind in ("limp", "stiff knee"):
        assert knees[side] < 0.85 * knees[1 - side]
    mirrored = Gait(Physique(), Style(), NO_SIGNATURE, impairment(kind, 1 - side, 1.0))
    assert [np.ptp(mirrored.leg_angles(CYCLE)[1][leg]) for leg in (1, 0)] == pytest.approx(knees)
    assert dataclasses.replace(change, stride=1.0) != GaitChange()


def test_the_share_of_impaired_people() -> None:
    assert {s.person.gait_change for s in draw_subjects(50)} == {GaitChange()}
    impaired = [s.person.gait_change != GaitChange() for s in draw_subjects(400, impaired=0.1)]
    assert 0.06 < np.mean(impaired) < 0.14


def test_gait_changes_combine() -> None:
    first = GaitChange(swing=(0.5, 1.0), elbow=(10.0, 0.0), lean=2.0, stride=0.9)
    second = GaitChange(swing=(0.5, 0.8), elbow=(5.0, 1.0), lean=-1.0, stride=0.5, knee=(0.3, 1.0))
    both = first.and_also(second)
    assert both == second.and_also(first)
    assert (both.swing, both.elbow, both.lean) == ((0.25, 0.8), (15.0, 1.0), 1.0)
    assert (both.stride, both.knee) == (0.45, (0.3, 1.0))
    assert first.and_also(GaitChange()) == first


def test_frailty_begins_after_61() -> None:
    ages = [30.0, 61.0, 75.0, 95.0]
    frailties = [Person(True, age, 0.0, 0.5, 0.5, GaitChange()).frailty for age in ages]
    assert frailties[:2] == [0, 0]
    assert 0 < frailties[2] < frailties[3] == 1


def test_calibrated_people_have_the_means_of_real_people() -> None:
    default, half, whole = (draw_subjects(20, calibrated=share) for share in (0.0, 0.5, 1.0))
    tables = {
        "physique": real_people.BODY, "style": real_people.GAIT, "coat": real_people.COAT, "bag.size": real_people.BAG,
    }  # fmt: skip
    for before, between, after in zip(default, half, whole, strict=True):
        for kind, shifts in tables.items():
            first, second, third = (attrgetter(kind)(subject) for subject in (before, between, after))
            lowest = {field.name: field.metadata["low"] for field in dataclasses.fields(first)}
            for name, shift in shifts.items():
                for share, subject in ((0.5, second), (1.0, third)):
                    expected = max(getattr(first, name) + share * shift, lowest[name])
                    assert getattr(subject, name) == pytest.approx(expected)
        assert after.physique.stature == before.physique.stature


def test_people_differ_as_real_people_do() -> None:
    """The covariance of traits is that of the factors, and a quarter of the independent variances."""
    default, measured = draw_subjects(400), draw_subjects(400, covariance=1.0)
    names = ("waist_girth", "shoulder_scale", "thigh_girth", "head_width")
    alone, together = (
        np.cov([[getattr(s.physique, n) for n in names] for s in p], rowvar=False) for p in (default, measured)
    )
    loadings = np.array([real_people.factors()[name] for name in names])
    expected = loadings @ loadings.T + real_people.OWN_SPREAD**2 * alone
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(together / np.outer(scale, scale), expected / np.outer(scale, scale), atol=0.15)
    assert np.corrcoef(together)[0, 1] != pytest.approx(0, abs=0.2)
    assert [s.physique.stature for s in default] == [s.physique.stature for s in measured]


def test_gait_variety_changes_gaits_only() -> None:
    default, similar = draw_subjects(100), draw_subjects(100, gait_variety=0.5)
    assert [s.physique for s in default] == [s.physique for s in similar]
    spread = [np.std([s.style.hip_gain for s in subjects]) for subjects in (default, similar)]
    assert spread[1] == pytest.approx(0.5 * spread[0])
