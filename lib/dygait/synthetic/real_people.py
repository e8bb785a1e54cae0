"""Differences of the means of real people's traits from those of SynGait: `people.calibrated`.

`scripts/fit_walkers.py` finds these numbers from pictures of CASIA-B's ids 001 to 049, each the mean of all people in
one view: 1,076 sequences without bag and coat. The duration of a stride, which such pictures do not tell, is the
difference of the medians, of ids 001 to 074. Together the numbers stand for mean silhouettes: where the model of the
body lacks something, such as the folds of clothes, another trait makes up for it.

Changing a number changes the pictures: increment `settings.VERSION`.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

BODY: dict[str, float] = {
    "leg_scale": 0.029,
    "shin_share": 0.021,
    "arm_scale": -0.11,
    "forearm_share": -0.011,
    "shoulder_scale": -0.099,
    "shoulder_slope": 0.0046,
    "hip_scale": -0.081,
    "neck_scale": 0.17,
    "head_width": 0.057,
    "head_depth": -0.047,
    "head_length": 0.023,
    "chin": -0.0074,
    "waist_girth": -0.02,
    "chest_girth": -0.098,
    "belly": 0.006,
    "seat": -0.016,
    "thigh_girth": -0.088,
    "calf_girth": -0.021,
    "neck_girth": -0.1,
    "foot_scale": 0.025,
    "foot_height": -0.0008,
    "trouser_hem": 0.0027,
    "shirt_length": 0.063,
    "shirt_width": 0.0032,
    "sleeve": 0.004,
    "hair_top": -0.0019,
    "hair_back": -0.0018,
    "hair_length": 0.05,
}
"""Shift of the mean of each trait of `Physique`."""

GAIT: dict[str, float] = {
    "stride_seconds": -0.097,
    "hip_gain": -0.023,
    "hip_offset": 0.35,
    "hip_phase": 0.0012,
    "knee_gain": -0.085,
    "knee_offset": -4.7,
    "knee_phase": 0.013,
    "ankle_gain": -0.026,
    "step_base": -0.0065,
    "toe_out": 6,
    "bow_leg": 0.0028,
    "circumduction": 0.0075,
    "sway": -0.0015,
    "pelvis_yaw": -2,
    "pelvis_list": -1.9,
    "thorax_yaw": 4.5,
    "thorax_roll": 1.2,
    "lean": -4.5,
    "stoop": 0.0052,
    "head_forward": 0.018,
    "head_pitch": -6.1,
    "head_nod": -0.86,
    "arm_swing": 1.8,
    "arm_offset": 7,
    "arm_abduction": 3.6,
    "elbow_flexion": -8.2,
    "elbow_swing": -1.2,
    "forearm_inward": 4,
    "shoulder_shrug": -0.0061,
}
"""Shift of the mean of each trait of `Style`."""

COAT: dict[str, float] = {
    "thickness": -0.011,
    "depth": -0.0025,
    "length": -0.048,
    "flare": 0.01,
    "waist": 0.0058,
    "sleeve": -0.0044,
    "shoulder": 0.0024,
    "collar": -0.0024,
    "trousers": -0.0044,
}
"""Shift of the mean of each trait of `Coat`."""

BAG: dict[str, float] = {
    "length": 0.064,
    "height": 0.011,
    "thickness": -0.039,
    "drop": -0.057,
    "forward": -0.0092,
}
"""Shift of the mean of each trait of `BagSize`."""

OWN_SPREAD = 0.5
"""Factor on the independent variation of the traits that vary with the factors."""


@functools.cache
def factors() -> dict[str, list[float]]:
    """Return the loadings of traits of `Physique` and `Style` on the uncorrelated factors in which people differ.

    `scripts/fit_covariance.py` writes them. The first factor is that of thick clothes, the second that of women and
    men, the third the size of the head.
    """
    return json.loads(Path(__file__).with_name("factors.json").read_text())


def draw_deviations(rng: np.random.Generator) -> dict[str, float]:
    """Draw the deviations of a subject's traits that are due to the factors."""
    values = rng.standard_normal(len(next(iter(factors().values())))).clip(-2.5, 2.5)
    return {name: float(values @ loadings) for name, loadings in factors().items()}
