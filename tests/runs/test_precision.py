"""Half precision that would crash is not used."""

import pytest
import torch
from torch import nn

from dygait.runs.precision import crashes


@pytest.mark.parametrize(
    ("has_amx", "channels", "size", "device", "expected"),
    [
        (True, 16, (128, 88), "cpu", True),
        (True, 32, (128, 88), "cpu", False),
        (True, 16, (64, 44), "cpu", False),
        (True, 16, None, "cpu", False),
        (True, 16, (128, 88), "meta", False),
        (False, 16, (128, 88), "cpu", False),
    ],
)
def test_narrow_networks_with_large_frames_on_amx(
    monkeypatch: pytest.MonkeyPatch,
    has_amx: bool,
    channels: int,
    size: tuple[int, int] | None,
    device: str,
    expected: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx, raising=False)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv3d(1, channels, 3))
    assert crashes(network, size, torch.device(device)) is expected
