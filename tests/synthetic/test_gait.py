from __future__ import annotations

import numpy as np
import pytest

from dygait.synthetic.body import Physique
from dygait.synthetic.gait import (
    ANKLE,
    ANKLE_SERIES,
    HIP,
    HIP_SERIES,
    KNEE,
    KNEE_SERIES,
    LEFT,
    RIGHT,
    Gait,
    Style,
    evaluate,
    fourier_series,
)
from dygait.synthetic.traits import MAX_DEVIATIONS, draw, draw_factors, vary

NO_SIGNATURE = np.zeros((2, 3, 3))
CYCLE = np.linspace(0, 1, 101)


def people(count: int) -> list[Gait]:
    gaits = []
    for number in range(count):
        rng = np.random.default_rng(number)
        factors = draw_factors(rng)
        physique, style = draw(Physique, rng, factors), draw(Style, rng, factors)
        gaits.append(Gait(physique, style, np.clip(rng.standard_normal((2, 3, 3)), -2, 2)))
    return gaits


def sole(gait: Gait, phase: np.ndarray) -> np.ndarray:
    """The lowest point of each foot, (S, 2)."""
    body, joints = gait.physique, gait.pose(phase).joints
    radii = {"heel": body.heel_radius, "ball": body.ball_radius, "toe": body.toe_radius}
    return np.stack(
        [np.min([joints[f"{n}_{side}"][:, 2] - r for n, r in radii.items()], 0) for side in (LEFT, RIGHT)], 1
    )


@pytest.mark.parametrize(
    ("curve", "series", "tolerance"),
    [(HIP, HIP_SERIES, 1.5), (KNEE, KNEE_SERIES, 2.0), (ANKLE, ANKLE_SERIES, 2.5)],
)
def test_series_follow_the_published_means(curve: dict[int, float], series: np.ndarray, tolerance: float) -> None:
    values = evaluate(series, np.array(list(curve)) / 100)
    assert np.abs(values - list(curve.values())).max() < tolerance
    np.testing.assert_allclose(evaluate(series, CYCLE + 3), evaluate(series, CYCLE), atol=1e-9)


def test_a_series_gives_a_sum_of_harmonics_back() -> None:
    phases = np.arange(0, 100, 5)
    truth = 3 + 2 * np.cos(2 * np.pi * phases / 100) - np.sin(4 * np.pi * phases / 100)
    series = fourier_series(dict(zip(phases.tolist(), truth.tolist(), strict=True)), 3)
    np.testing.assert_allclose(evaluate(series, phases / 100), truth, atol=1e-9)


def test_the_mean_walker_walks_as_people_do() -> None:
    gait = Gait(Physique(), Style(), NO_SIGNATURE)
    hip, knee, _, pitch = gait.leg_angles(CYCLE, LEFT)
    assert 35 < np.ptp(hip) < 50
    assert 55 < knee.max() < 72
    assert 65 <= 100 * CYCLE[knee.argmax()] <= 80
    # The foot is flat on the ground in the middle of stance, and points down at push-off.
    assert np.abs(pitch[(CYCLE > 0.12) & (CYCLE < 0.36)]).max() < 5
    assert pitch.min() < -50
    assert 1.1 < gait.stride_metres < 1.5
    height = gait.pose(CYCLE).joints["pelvis"][:, 2]
    assert 0.49 < height.mean() / gait.physique.stature < 0.55
    assert 0.01 < np.ptp(height) < 0.06


def test_arms_swing_against_the_legs() -> None:
    gait = Gait(Physique(), Style(), NO_SIGNATURE)
    joints = gait.pose(CYCLE).joints
    for side in (LEFT, RIGHT):
        foot = joints[f"ankle_{side}"][:, 0] - joints["pelvis"][:, 0]
        hand = joints[f"hand_{side}"][:, 0] - joints[f"shoulder_{side}"][:, 0]
        assert np.corrcoef(foot, hand)[0, 1] < -0.8


def test_feet_are_on_the_ground_and_do_not_slide() -> None:
    phase = np.linspace(0, 2, 161)
    slides = []
    for gait in people(40):
        lowest = sole(gait, phase)
        assert lowest.min() > -1e-9
        assert lowest.min(1).max() < 0.05
        assert 0.6 < gait.stride_metres < 2.0
        standing = (phase > 0.12) & (phase < 0.38)
        slides.append(np.ptp(gait.pose(phase).joints["ball_0"][standing, 0]) / gait.stride_metres)
        assert np.diff(gait.pose(phase).joints["pelvis"][:, 0]).min() > 0
    assert np.median(slides) < 0.02
    assert max(slides) < 0.12


def test_the_walk_is_periodic_and_its_speed_is_the_pace() -> None:
    gait = people(1)[0]
    here, later = gait.pose(CYCLE).joints, gait.pose(CYCLE + 2).joints
    for name in here:
        np.testing.assert_allclose(later[name] - here[name], [[2 * gait.stride_metres, 0, 0]] * 101, atol=1e-9)
    quick = Gait(gait.physique, gait.style, NO_SIGNATURE, speed=1.1)
    slow = Gait(gait.physique, gait.style, NO_SIGNATURE, speed=0.9)
    assert quick.cycles_per_frame > slow.cycles_per_frame
    assert quick.stride_metres > slow.stride_metres


def test_bones_keep_their_lengths() -> None:
    gait = Gait(Physique(), Style(), NO_SIGNATURE)
    joints, body = gait.pose(CYCLE).joints, gait.physique
    pairs = [("hip", "knee", body.thigh), ("knee", "ankle", body.shank), ("shoulder", "elbow", body.upper_arm)]
    for first, second, length in [*pairs, ("elbow", "wrist", body.forearm)]:
        for side in (LEFT, RIGHT):
            found = np.linalg.norm(joints[f"{first}_{side}"] - joints[f"{second}_{side}"], axis=1)
            np.testing.assert_allclose(found, length, rtol=0.06)


def test_traits_differ_more_between_people_than_within_one() -> None:
    rng = np.random.default_rng(0)
    styles = [draw(Style, rng, draw_factors(rng)) for _ in range(300)]
    walks = [vary(styles[0], rng) for _ in range(300)]
    swing = np.array([style.arm_swing for style in styles])
    assert np.std(swing) > 2.5 * np.std([walk.arm_swing for walk in walks])
    assert np.abs(swing - Style().arm_swing).max() <= 2 * MAX_DEVIATIONS * np.std(swing)
    assert min(style.step_base for style in styles) >= 0.012


def test_traits_of_a_person_hang_together() -> None:
    rng = np.random.default_rng(0)
    styles = [draw(Style, rng, draw_factors(rng)) for _ in range(300)]
    swing, hips, stoop = (np.array([getattr(s, name) for s in styles]) for name in ("arm_swing", "hip_gain", "stoop"))
    assert np.corrcoef(swing, hips)[0, 1] > 0.5
    assert abs(np.corrcoef(swing, stoop)[0, 1]) < 0.2
