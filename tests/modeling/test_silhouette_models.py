"""GaitSet, GaitPart and GaitGL: parameters, shapes, exactness on padded batches, and sizes that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dygait.modeling import GaitOutput, build_model, complete_model_cfg
from helpers.walks import check_alone_as_in_a_padded_batch, check_padding_in_training, silhouettes, with_statistics

CHAIN = ["BC-4", "M", "FC-6-1", "M", "FC-8-2"]
NECKS = {"class_num": 5, "in_channels": 6, "parts_num": 8}
SMALL: dict[str, dict[str, Any]] = {
    "GaitSet": {
        "model": "GaitSet", "in_channels": [1, 4, 6, 8], "bin_num": [4, 2, 1], "input_size": [16, 12],
        "SeparateFCs": {"in_channels": 8, "out_channels": 9, "parts_num": 14},
    },
    "GaitPart": {
        "model": "GaitPart", "backbone_cfg": {"type": "Plain", "in_channels": 1, "layers_cfg": CHAIN}, "bin_num": [4],
        "SeparateFCs": {"in_channels": 8, "out_channels": 7, "parts_num": 4}, "input_size": [16, 12],
    },
    "GaitGL": {"model": "GaitGL", "channels": [2, 3, 6], "bin_num": [8], "class_num": 5, "input_size": [16, 12]},
    "GaitGL necks": {
        "model": "GaitGL", "channels": [2, 3, 6], "bin_num": [8], "SeparateBNNecks": NECKS, "input_size": [16, 12],
    },
    "GaitGL deep": {
        "model": "GaitGL", "variant": "deep", "channels": [2, 3, 4, 6], "bin_num": [8], "class_num": 5,
        "input_size": [16, 12],
    },
    "GaitGL deep necks": {
        "model": "GaitGL", "variant": "deep", "channels": [2, 3, 4, 6], "bin_num": [8], "SeparateBNNecks": NECKS,
        "input_size": [16, 12],
    },
}  # fmt: skip
SHAPES = {"GaitSet": (9, 14), "GaitPart": (7, 4)}  # all others (6, 8)

# The keys of OpenGait's configs, with the numbers of parameters that its models have.
WHOLE: dict[str, tuple[dict[str, Any], str, int]] = {
    "GaitSet CASIA-B": (
        {
            "model": "GaitSet", "in_channels": [1, 32, 64, 128], "bin_num": [16, 8, 4, 2, 1],
            "SeparateFCs": {"in_channels": 128, "out_channels": 256, "parts_num": 62},
        },
        "CASIA-B", 2_594_592,
    ),
    "GaitSet OUMVLP": (
        {
            "model": "GaitSet", "in_channels": [1, 64, 128, 256], "bin_num": [16, 8, 4, 2, 1],
            "SeparateFCs": {"in_channels": 256, "out_channels": 256, "parts_num": 62},
        },
        "OUMVLP", 6_313_536,
    ),
    "GaitPart CASIA-B": (
        {
            "model": "GaitPart",
            "backbone_cfg": {
                "in_channels": 1, "type": "Plain",
                "layers_cfg": ["BC-32", "BC-32", "M", "FC-64-2", "FC-64-2", "M", "FC-128-3", "FC-128-3"],
            },
            "SeparateFCs": {"in_channels": 128, "out_channels": 128, "parts_num": 16}, "bin_num": [16],
        },
        "CASIA-B", 1_204_000,
    ),
    "GaitPart OUMVLP": (
        {
            "model": "GaitPart",
            "backbone_cfg": {
                "in_channels": 1, "type": "Plain",
                "layers_cfg": [
                    "BC-32", "BC-32", "M", "BC-64", "BC-64", "M", "FC-128-3", "FC-128-3", "FC-256-3", "FC-256-3",
                ],
            },
            "SeparateFCs": {"in_channels": 256, "out_channels": 256, "parts_num": 16}, "bin_num": [16],
        },
        "OUMVLP", 4_841_248,
    ),
    "GaitGL CASIA-B": ({"model": "GaitGL", "channels": [32, 64, 128], "class_num": 74}, "CASIA-B", 3_096_673),
    "GaitGL OUMVLP": (
        {"model": "GaitGL", "channels": [32, 64, 128, 256], "class_num": 5153}, "OUMVLP", 95_620_449,
    ),
}  # fmt: skip


def network(name: str, **more: Any) -> nn.Module:
    """A network whose BatchNorms have seen something, with embeddings that are not tiny, in evaluation mode."""
    torch.manual_seed(1)
    made = build_model({**SMALL[name], **more})
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.Conv3d):
                layer.weight *= 1.25
    return with_statistics(made)


@pytest.mark.parametrize("name", WHOLE)
def test_parameter_counts_are_the_references(name: str) -> None:
    model_cfg, dataset, expected = WHOLE[name]
    with torch.device("meta"):
        made = build_model(model_cfg, dataset)
    assert sum(p.numel() for p in made.parameters()) == expected


def test_the_class_head_of_gaitgl() -> None:
    model_cfg, dataset, _ = WHOLE["GaitGL CASIA-B"]
    with torch.device("meta"):
        made: Any = build_model(model_cfg, dataset)
    assert made.classifier.fc_bin.numel() == 64 * 128 * 74  # 0.61 M


@pytest.mark.parametrize("name", SMALL)
def test_shapes(name: str) -> None:
    output = network(name)(silhouettes(3, 5))
    shape = SHAPES.get(name, (6, 8))
    assert output.embeddings.shape == output.inference.shape == (3, *shape)
    if name in SHAPES:
        assert output.logits is None
    else:
        assert output.logits.shape == (3, 5, 8)


@pytest.mark.parametrize("name", SMALL)
def test_alone_and_in_a_padded_batch_the_embedding_is_the_same(name: str) -> None:
    fields = [key for key in GaitOutput._fields if key != "logits" or name not in SHAPES]
    check_alone_as_in_a_padded_batch(network(name), [1, 2, 3, 4, 5, 6, 7, 11, 12], fields)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("lengths", [[4, 7, 3], [5, 5, 5], [1, 2, 7]])
def test_more_padding_changes_nothing_in_training(name: str, lengths: list[int]) -> None:
    check_padding_in_training([network(name).train() for _ in range(2)], lengths, (7, 10))


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_frames_matters_unless_they_are_a_set(name: str) -> None:
    made, walks = network(name), silhouettes(2, 9)
    walks[:, 5:] *= 0.5
    with torch.no_grad():
        change = made(walks[:, [0, 2, 1, *range(3, 9)]]).inference - made(walks).inference
    if name == "GaitSet":
        assert not change.any()
    else:
        assert change.abs().max() > 1e-5


@pytest.mark.parametrize("name", ["GaitGL", "GaitGL deep"])
def test_gaitgl_repeats_short_sequences(name: str) -> None:
    made, walk = network(name), silhouettes(2, 2)
    with torch.no_grad():
        assert torch.equal(made(walk).inference, made(walk[:, [0, 1, 0, 1]]).inference)
        assert torch.equal(made(walk[:, :1]).inference, made(walk[:, [0, 0, 0]]).inference)


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_is_near(name: str) -> None:
    made, walks = network(name), silhouettes(2, 6)
    with torch.no_grad():
        whole = made(walks).inference
        with torch.autocast("cpu", torch.bfloat16):
            half = made(walks).inference.float()
    assert (half - whole).abs().max() < 0.05 * whole.abs().max()


def test_the_datasets_name_chooses_gaitgls_variant() -> None:
    for dataset, variant in (("OUMVLP", "deep"), ("GREW", "deep"), ("CASIA-B", "shallow"), ("Gait3D", "shallow")):
        assert complete_model_cfg({"model": "GaitGL"}, dataset)["variant"] == variant
    assert complete_model_cfg({"model": "GaitGL", "variant": "deep"}, "CASIA-B")["variant"] == "deep"


FCS = {"in_channels": 8, "out_channels": 9, "parts_num": 14}
UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("GaitSet", {"in_channels": [1, 4, 8]}, "in_channels: .*4 positive numbers"),
    ("GaitSet", {"in_channels": [3, 4, 6, 8]}, "in_channels: .*must be 1"),
    ("GaitSet", {"bin_num": [3], "SeparateFCs": {"out_channels": 9}}, r"bin_num: features 4 rows high"),
    ("GaitSet", {"SeparateFCs": {**FCS, "parts_num": 7}}, r"SeparateFCs\.parts_num: must be 14"),
    ("GaitSet", {"SeparateFCs": {**FCS, "in_channels": 4}}, r"SeparateFCs\.in_channels: must be 8"),
    ("GaitPart", {"backbone_cfg": {"type": "Plain", "layers_cfg": ["BC"]}}, "backbone_cfg.layers_cfg: 'BC' is no"),
    ("GaitPart", {"backbone_cfg": {"type": "Other", "layers_cfg": CHAIN}}, "backbone_cfg.type: "),
    ("GaitPart", {"backbone_cfg": {"type": "Plain", "layers_cfg": CHAIN, "in_channels": 3}}, "in_channels: must be 1"),
    ("GaitPart", {"backbone_cfg": {"type": "Plain", "layers_cfg": ["BC-2"]}}, "at least 4 channels"),
    ("GaitPart", {"backbone_cfg": {"type": "Plain", "layer_cfg": CHAIN}}, "did you mean 'layers_cfg'"),
    ("GaitPart", {"bin_num": [8], "SeparateFCs": {}}, "bin_num: features 4 rows high"),
    ("GaitPart", {"SeparateFCs": FCS}, r"SeparateFCs\.parts_num: must be 4"),
    ("GaitGL", {"channels": [2, 3]}, "channels: .*takes 3"),
    ("GaitGL deep", {"channels": [2, 3, 4]}, "channels: .*takes 4"),
    ("GaitGL", {"bin_num": [32]}, "bin_num: features 16 rows high"),
    ("GaitGL", {"class_num": 0}, "class_num: must be at least 1"),
    ("GaitGL", {"SeparateBNNecks": {**NECKS, "parts_num": 9}}, r"SeparateBNNecks\.parts_num: must be 8"),
    ("GaitGL", {"SeparateBNNecks": {**NECKS, "class_num": 9}}, r"SeparateBNNecks\.class_num: must be 5"),
]


@pytest.mark.parametrize(("name", "change", "message"), UNFIT, ids=str)
def test_sizes_that_do_not_fit(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model({**SMALL[name], **change})(silhouettes(2, 4))


@pytest.mark.parametrize("name", SMALL)
def test_silhouettes_of_another_height_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match="rows"):
        network(name)(torch.zeros(1, 3, 20, 12))
