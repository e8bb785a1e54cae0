"""Networks side by side: the features of each, on silhouettes averaged to its size."""

from typing import Any

import pytest
import torch

from dygait.errors import UserError
from dygait.modeling import build_model
from helpers.networks import CLASSES, SMALL, silhouettes

NECKS = {"in_channels": 6, "parts_num": 8}
LARGE = {**SMALL["GaitGL necks"], "SeparateBNNecks": NECKS}
LITTLE = {"model": "DyGait", "variant": "shallow", "channels": [2, 3, 6], "bin_num": [4], "input_size": [8, 6]}
LITTLE["SeparateBNNecks"] = {"in_channels": 6, "parts_num": 4}


def ensemble(**members: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    settings = {"model": "Ensemble", "input_size": [16, 12], "members": members, "class_num": CLASSES}
    return build_model(settings).eval()


def test_the_features_are_those_of_the_members() -> None:
    model = ensemble(little=LITTLE, large=LARGE)
    x, lengths = silhouettes(3, 7), torch.tensor([7, 3, 5])
    little = torch.zeros(3, 7, 8, 6)
    for row in range(8):
        for column in range(6):
            little[:, :, row, column] = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((2, 3))
    output = model(x, lengths)
    expected = [model.members["little"](little, lengths), model.members["large"](x, lengths)]
    for field, channels in (("embeddings", 6), ("logits", CLASSES), ("inference", 6), ("after_neck", 6)):
        actual = getattr(output, field)
        assert actual.shape == (3, channels, 12)
        torch.testing.assert_close(actual, torch.cat([getattr(part, field) for part in expected], 2))
    for n, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(model(x[n : n + 1, :length]).embeddings[0], output.embeddings[n], atol=1e-5, rtol=0)


def test_every_member_trains() -> None:
    model = ensemble(little=LITTLE, large=LARGE).train()
    model(silhouettes(2, 4)).logits.sum().backward()
    for member in model.members.values():
        assert all(parameter.grad is not None for parameter in member.parameters())
    assert set(model.class_head) == {f"members.{name}.{head}" for name in ("little", "large") for head in
                                     ("classifier.fc_bin", "necks.fc_bin")}  # fmt: skip


def test_a_feature_that_one_member_lacks() -> None:
    output = ensemble(large=LARGE, sets=SMALL["GaitSet"])(silhouettes(2, 4))
    assert output.logits is output.after_neck is None
    assert output.embeddings.shape == (2, 6, 8 + 14)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "members: at least one network is needed"),
        ({"one": {**LARGE, "model": "GaitGLL"}}, r"members\.one.*GaitGLL.*did you mean 'GaitGL'"),
        ({"one": {**LARGE, "bin_nums": [2]}}, r"members\.one\.bin_nums: unknown key; did you mean 'bin_num'"),
        ({"one": SMALL["LidarGait"]}, r"members\.one: Baseline takes frames of several channels"),
    ],
)
def test_members_that_cannot_be_built(members: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ensemble(**members)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"one": {**LARGE, "input_size": [9, 12]}}, r"members\.one\.input_size: silhouettes of 16 x 12 pixels do not"),
        ({"one": LARGE, "wide": {**LARGE, "channels": [2, 3, 8], "SeparateBNNecks": {}}}, r"have \[6, 8\] channels"),
    ],
)
def test_members_that_do_not_fit(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ensemble(**members)(silhouettes(2, 4))
