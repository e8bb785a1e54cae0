"""Models for export, which mask padding, give the same outputs as those that pack sequences."""

import pytest
import torch

from dygait.modeling.export_mode import export_mode, is_exporting
from helpers.networks import SMALL, network, silhouettes


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("lengths", [[9, 4, 2, 1], [9, 9, 9, 9], [4, 3, 1, 2]], ids=str)
@torch.no_grad()
def test_it_equals_the_packed_form(name: str, lengths: list[int]) -> None:
    model, frames = network(name).double(), silhouettes(4, max(lengths), name=name).double()
    expected = model(frames, torch.tensor(lengths))
    with export_mode():
        exported = model(frames, torch.tensor(lengths))
    for output, reference in zip(exported, expected, strict=True):
        if reference is not None:
            torch.testing.assert_close(output, reference, rtol=0, atol=1e-12)


def test_it_ends_with_the_block_also_after_an_error() -> None:
    with export_mode():
        assert is_exporting()
    with pytest.raises(KeyError), export_mode():
        raise KeyError
    assert not is_exporting()
