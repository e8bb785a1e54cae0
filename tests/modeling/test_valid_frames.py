"""Packed frames: nothing of the padding, and the largest values of each sequence."""

from __future__ import annotations

import pytest
import torch

from dygait.modeling.frames import pack, sequence_max, unpack

CASES = [None, [4, 4, 4], [2, 4, 1], [3, 3, 3], [1, 1, 1], [1, 4, 4]]


@pytest.mark.parametrize("lengths", CASES)
def test_packed_and_unpacked(lengths: list[int] | None) -> None:
    x = torch.randn(3, 4, 2, 5)
    frames, counts = pack(x, None if lengths is None else torch.tensor(lengths))
    expected = lengths or [4, 4, 4]
    assert counts == expected
    torch.testing.assert_close(frames, torch.cat([x[n, :length] for n, length in enumerate(expected)]), rtol=0, atol=0)
    back = unpack(frames, counts)
    assert back.shape == (3, max(expected), 2, 5)
    for n, length in enumerate(expected):
        torch.testing.assert_close(back[n, :length], x[n, :length], rtol=0, atol=0)
        assert not back[n, length:].any()


@pytest.mark.parametrize("lengths", CASES)
def test_sequence_max(lengths: list[int] | None) -> None:
    x = torch.randn(3, 4, 2) - 5  # a padding of zeros would win
    found = sequence_max(*pack(x, None if lengths is None else torch.tensor(lengths)))
    for n, length in enumerate(lengths or [4, 4, 4]):
        for c in range(2):
            assert float(found[n, c]) == max(x[n, s, c].item() for s in range(length))
