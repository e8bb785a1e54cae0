"""GaitBase and DeepGaitV2: parameters, shapes, exactness on padded batches, and sizes that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling import MODELS, build_model
from helpers.walks import check_alone_as_in_a_padded_batch, check_padding_in_training, silhouettes, with_statistics

RESNET = {
    "type": "ResNet9", "block": "BasicBlock", "channels": [2, 3, 4, 8], "layers": [1, 2, 1, 1],
    "strides": [1, 2, 2, 1], "maxpool": False,
}  # fmt: skip
FCS = {"in_channels": 8, "out_channels": 6, "parts_num": 4}
NECKS = {"class_num": 5, "in_channels": 6, "parts_num": 4}


def deep(mode: str, layers: list[int], **more: Any) -> dict[str, Any]:
    return {
        "model": "DeepGaitV2", "Backbone": {"mode": mode, "in_channels": 1, "layers": layers, "channels": [2, 3, 6, 8]},
        "SeparateBNNecks": {"class_num": 5}, "bin_num": [4], "input_size": [16, 12], **more,
    }  # fmt: skip


SMALL: dict[str, dict[str, Any]] = {
    "GaitBase": {
        "model": "GaitBase", "backbone_cfg": RESNET, "SeparateFCs": FCS, "SeparateBNNecks": NECKS, "bin_num": [4],
        "input_size": [16, 12],
    },
    "GaitBase plain": {
        "model": "Baseline", "backbone_cfg": {"type": "Plain", "layers_cfg": ["BC-4", "M", "BC-6", "M", "BC-8"]},
        "SeparateFCs": FCS, "SeparateBNNecks": NECKS, "bin_num": [2, 1, 1], "input_size": [16, 12],
    },
    "DeepGaitV2 2d": deep("2d", [1, 1, 1, 1]),
    "DeepGaitV2 p3d": deep("p3d", [1, 2, 1, 1], use_emb2=True),
    "DeepGaitV2 3d": deep("3d", [1, 1, 2, 1]),
}  # fmt: skip


def wide(classes: int, layers: list[int], mode: str = "p3d") -> dict[str, Any]:
    sizes = {"mode": mode, "in_channels": 1, "layers": layers, "channels": [64, 128, 256, 512]}
    return {"model": "DeepGaitV2", "Backbone": sizes, "SeparateBNNecks": {"class_num": classes}}


# The keys of OpenGait's configs, with the numbers of parameters that its models have.
WHOLE: dict[str, tuple[dict[str, Any], int]] = {
    "GaitBase CASIA-B": (
        {
            "model": "Baseline",
            "backbone_cfg": {
                "type": "ResNet9", "block": "BasicBlock", "channels": [64, 128, 256, 512], "layers": [1, 1, 1, 1],
                "strides": [1, 2, 2, 1], "maxpool": False,
            },
            "SeparateFCs": {"in_channels": 512, "out_channels": 256, "parts_num": 16},
            "SeparateBNNecks": {"class_num": 74, "in_channels": 256, "parts_num": 16},
            "bin_num": [16],
        },
        7_305_408,
    ),
    "DeepGaitV2 CASIA-B": (wide(74, [1, 1, 1, 1]), 8_339_392),
    "DeepGaitV2 Gait3D": (wide(3000, [1, 4, 4, 1]), 25_492_160),
}  # fmt: skip


def network(name: str, **more: Any) -> nn.Module:
    """A network whose BatchNorms have seen something, in evaluation mode."""
    torch.manual_seed(1)
    return with_statistics(build_model({**SMALL[name], **more}))


@pytest.mark.parametrize("name", WHOLE)
def test_parameter_counts_are_the_references(name: str) -> None:
    model_cfg, expected = WHOLE[name]
    with torch.device("meta"):
        made = build_model(model_cfg)
    assert sum(p.numel() for p in made.parameters()) == expected


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_heads(name: str) -> None:
    made: Any = network(name)
    output = made(silhouettes(3, 5))
    assert output.embeddings.shape == output.inference.shape == (3, 6, 4)
    assert output.logits.shape == (3, 5, 4)
    assert made.class_num == 5
    flat = made.necks.bn1d(output.embeddings.reshape(3, 24)).reshape(3, 6, 4)
    logits = torch.einsum("ncp,pck->nkp", F.normalize(flat, dim=1), F.normalize(made.necks.fc_bin, dim=1))
    torch.testing.assert_close(output.logits, logits, atol=1e-6, rtol=0)
    after = name == "DeepGaitV2 p3d"  # use_emb2
    torch.testing.assert_close(
        output.inference, F.normalize(flat, dim=1) if after else output.embeddings, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("name", SMALL)
def test_alone_and_in_a_padded_batch_the_embedding_is_the_same(name: str) -> None:
    check_alone_as_in_a_padded_batch(network(name), [1, 2, 3, 4, 7, 12])


@pytest.mark.parametrize("name", SMALL)
def test_more_padding_changes_nothing_in_training(name: str) -> None:
    """BatchNorm's statistics too are those of the frames that sequences have."""
    check_padding_in_training([network(name).train() for _ in range(2)], [4, 7, 1], (7, 10))


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_frames_matters_to_those_that_look_over_time(name: str) -> None:
    made, walks = network(name), silhouettes(2, 9)
    with torch.no_grad():
        change = made(walks[:, [0, 2, 1, *range(3, 9)]]).inference - made(walks).inference
    assert (change.abs().max() > 1e-5) == ("3d" in name)


def test_the_two_names_are_one_model() -> None:
    assert MODELS.get("Baseline") is MODELS.get("GaitBase")


UNFIT: list[tuple[str, dict[str, Any], str]] = [
    (
        "GaitBase",
        {"backbone_cfg": {**RESNET, "block": "Bottleneck"}},
        "backbone_cfg.block: input should be 'BasicBlock",
    ),
    ("GaitBase", {"backbone_cfg": {**RESNET, "layers": [1, 1, 1]}}, "backbone_cfg.layers: .* takes 4 positive numbers"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "in_channel": 3}}, "backbone_cfg.in_channel: must be 1"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "stride": [1] * 4}}, "backbone_cfg.stride: unknown key; did you mean"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "type": "ResNet50"}}, "backbone_cfg.type: unknown backbone"),
    ("GaitBase", {"backbone_cfg": {"channels": [1]}}, "backbone_cfg.type: name the backbone"),
    ("GaitBase", {"SeparateFCs": {**FCS, "in_channels": 9}}, r"SeparateFCs\.in_channels: must be 8"),
    ("GaitBase", {"SeparateBNNecks": {**NECKS, "parts_num": 3}}, r"SeparateBNNecks\.parts_num: must be 4"),
    ("GaitBase", {"bin_num": [3, 1]}, "bin_num: features 4 rows high"),
    ("GaitBase plain", {"backbone_cfg": {"type": "Plain", "layers_cfg": ["B-4"]}}, "backbone_cfg.layers_cfg: 'B-4'"),
    ("GaitBase plain", {"backbone_cfg": {"type": "Plain"}}, "backbone_cfg.layers_cfg: this key is required"),
    ("DeepGaitV2 2d", deep("4d", [1, 1, 1, 1]), r"Backbone\.mode: input should be '2d', 'p3d' or '3d'"),
    ("DeepGaitV2 2d", deep("2d", [1, 1, 1]), r"Backbone\.layers: .* takes 4 positive numbers"),
    ("DeepGaitV2 2d", deep("2d", [1, 0, 1, 1]), r"Backbone\.layers: .* takes 4 positive numbers"),
    ("DeepGaitV2 2d", {"SeparateBNNecks": {"class_num": 0}}, r"SeparateBNNecks\.class_num: must be at least 1"),
    ("DeepGaitV2 2d", {"bin_num": [16]}, "bin_num: features 4 rows high"),
]


@pytest.mark.parametrize(("name", "change", "message"), UNFIT, ids=str)
def test_sizes_that_do_not_fit(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model({**SMALL[name], **change})(silhouettes(2, 4))


@pytest.mark.parametrize("name", SMALL)
def test_silhouettes_of_another_height_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match="rows"):
        network(name)(torch.zeros(1, 3, 20, 12))
