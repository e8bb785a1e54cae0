"""The raw datasets that `dygait prepare` supports."""

from dygait.preprocess import casia_a, casia_b, gait3d, grew, oumvlp
from dygait.preprocess.layout import Layout

LAYOUTS: dict[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in (casia_b, oumvlp, grew, gait3d, casia_a)}
