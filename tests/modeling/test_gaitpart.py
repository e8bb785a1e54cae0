"""GaitPart's temporal feature aggregator against plain loops."""

from __future__ import annotations

import pytest
import torch

from dygait.modeling.layers import valid_frames
from dygait.modeling.models.gaitpart import MicroMotion, TemporalFeatureAggregator
from reference.convolutions import micro_motion

PARTS, CHANNELS = 2, 4


def weights(builder: MicroMotion, part: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    squeeze, excite = builder.squeeze[part].weight, builder.excite[part].weight
    assert isinstance(squeeze, torch.Tensor)
    assert isinstance(excite, torch.Tensor)
    return squeeze.detach(), excite.detach(), builder.window


@pytest.mark.parametrize("lengths", [None, [7, 3], [1, 2], [7, 7]])
def test_aggregator(lengths: list[int] | None) -> None:
    torch.manual_seed(0)
    made = TemporalFeatureAggregator(CHANNELS, PARTS).double()
    x = torch.randn(2, PARTS, CHANNELS, 7, dtype=torch.float64)
    counts = None if lengths is None else torch.tensor(lengths)
    if counts is not None:
        x = x * valid_frames(counts, 7)[:, None, None]
    with torch.no_grad():
        found = made(x, counts)
    for n in range(2):
        for part in range(PARTS):
            walk = x[n, part, :, : 7 if lengths is None else lengths[n]].T.tolist()
            short, long = (micro_motion(walk, *weights(b, part)) for b in (made.short, made.long))
            expected = [max(a[c] + b[c] for a, b in zip(short, long, strict=True)) for c in range(CHANNELS)]
            assert found[n, :, part].tolist() == pytest.approx(expected)
