import numpy as np
import pytest

from dygait.synthetic import gait as module
from dygait.synthetic.body import Physique
from dygait.synthetic.gait import Gait, evaluate, fourier_series
from dygait.synthetic.gait_change import LEFT, RIGHT
from dygait.synthetic.gait_style import Style
from dygait.synthetic.settings import Settings
from dygait.synthetic.variation import MAX_DEVIATIONS, vary
from dygait.synthetic.walker import SubjectTraits, draw_subject

NO_SIGNATURE = np.zeros((2, 3, 3))
CYCLE = np.linspace(0, 1, 101)


@pytest.fixture(scope="module")
def people() -> list[SubjectTraits]:
    return [draw_subject(Settings(300, 0, (1, 1)), number) for number in range(300)]


@pytest.fixture(scope="module")
def mean() -> Gait:
    return Gait(Physique(), Style(), NO_SIGNATURE)


def foot_heights(gait: Gait, phase: np.ndarray) -> np.ndarray:
    """Return the height of the lowest point of each foot, (S, 2)."""
    body, joints = gait.physique, gait.pose(phase).joints
    radii = {"heel": body.heel_radius, "ball": body.ball_radius, "toe": body.toe_radius}
    return np.stack(
        [np.min([joints[f"{n}_{side}"][:, 2] - r for n, r in radii.items()], 0) for side in (LEFT, RIGHT)], 1
    )


@pytest.mark.parametrize(("curve", "tolerance"), [("HIP", 1.5), ("KNEE", 2.0), ("ANKLE", 2.5)])
def test_series_follow_the_published_means(curve: str, tolerance: float) -> None:
    percents, degrees = np.array(getattr(module, curve), float)
    series = getattr(module, f"{curve}_SERIES")
    assert np.abs(evaluate(series, percents / 100) - degrees).max() < tolerance
    np.testing.assert_allclose(evaluate(series, CYCLE + 3), evaluate(series, CYCLE), atol=1e-9)


def test_a_series_recovers_a_sum_of_harmonics() -> None:
    percents = np.arange(0, 100, 5)
    truth = 3 + 2 * np.cos(2 * np.pi * percents / 100) - np.sin(4 * np.pi * percents / 100)
    np.testing.assert_allclose(evaluate(fourier_series(percents, truth, 3), percents / 100), truth, atol=1e-9)


def test_the_mean_gait_is_in_human_ranges(mean: Gait) -> None:
    hip, knee, _, pitch = (angles[LEFT] for angles in mean.leg_angles(CYCLE))
    assert 35 < np.ptp(hip) < 50
    assert 55 < knee.max() < 72
    assert 65 <= 100 * CYCLE[knee.argmax()] <= 80
    # The foot is flat on the ground in the middle of stance, and points down at push-off.
    assert np.abs(pitch[(CYCLE > 0.12) & (CYCLE < 0.36)]).max() < 5
    assert pitch.min() < -50
    assert 1.1 < mean.stride_metres < 1.5
    joints = mean.pose(CYCLE).joints
    assert 0.49 < joints["pelvis"][:, 2].mean() / mean.physique.stature < 0.55
    assert 0.01 < np.ptp(joints["pelvis"][:, 2]) < 0.06
    for side in (LEFT, RIGHT):  # arms swing in antiphase with the legs
        foot = joints[f"ankle_{side}"][:, 0] - joints["pelvis"][:, 0]
        hand = joints[f"hand_{side}"][:, 0] - joints[f"shoulder_{side}"][:, 0]
        assert np.corrcoef(foot, hand)[0, 1] < -0.8


def test_feet_touch_the_ground_and_do_not_slide(people: list[SubjectTraits]) -> None:
    phase = np.linspace(0, 2, 161)
    standing = (phase > 0.12) & (phase < 0.38)
    slides = []
    for person in people[:40]:
        gait = Gait(person.physique, person.style, person.signature)
        lowest = foot_heights(gait, phase)
        assert lowest.min() > -1e-9
        assert lowest.min(1).max() < 0.05
        assert 0.6 < gait.stride_metres < 2.0
        joints = gait.pose(phase).joints
        slides.append(np.ptp(joints["ball_0"][standing, 0]) / gait.stride_metres)
        assert np.diff(joints["pelvis"][:, 0]).min() > 0
    assert np.median(slides) < 0.02
    assert max(slides) < 0.12


def test_the_gait_is_periodic_and_faster_with_speed(people: list[SubjectTraits]) -> None:
    gait = Gait(people[0].physique, people[0].style, people[0].signature)
    joints, later = gait.pose(CYCLE).joints, gait.pose(CYCLE + 2).joints
    for name in joints:
        np.testing.assert_allclose(later[name] - joints[name], [[2 * gait.stride_metres, 0, 0]] * 101, atol=1e-9)
    fast, slow = (Gait(gait.physique, gait.style, NO_SIGNATURE, speed=speed) for speed in (1.1, 0.9))
    assert fast.cycles_per_frame > slow.cycles_per_frame
    assert fast.stride_metres > slow.stride_metres


@pytest.mark.parametrize(
    ("first", "second", "bone"),
    [
        ("hip", "knee", "thigh"),
        ("knee", "ankle", "shank"),
        ("shoulder", "elbow", "upper_arm"),
        ("elbow", "wrist", "forearm"),
    ],
)
def test_bones_keep_their_lengths(mean: Gait, first: str, second: str, bone: str) -> None:
    joints = mean.pose(CYCLE).joints
    for side in (LEFT, RIGHT):
        lengths = np.linalg.norm(joints[f"{first}_{side}"] - joints[f"{second}_{side}"], axis=1)
        np.testing.assert_allclose(lengths, getattr(mean.physique, bone), rtol=0.06)


def test_traits_are_correlated_and_vary_more_between_people_than_within(people: list[SubjectTraits]) -> None:
    rng = np.random.default_rng(1)
    swing, hips, stoop, step_base = (
        np.array([getattr(person.style, name) for person in people])
        for name in ("arm_swing", "hip_gain", "stoop", "step_base")
    )
    assert np.std(swing) > 2.5 * np.std([vary(people[0].style, rng).arm_swing for _ in people])
    assert np.abs(swing - Style().arm_swing).max() <= 2 * MAX_DEVIATIONS * np.std(swing)
    assert step_base.min() >= 0.012
    assert np.corrcoef(swing, hips)[0, 1] > 0.5
    assert abs(np.corrcoef(swing, stoop)[0, 1]) < 0.2
