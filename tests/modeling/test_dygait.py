"""The whole network: shapes, heads, exactness on padded batches, and sizes that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import dygait
from dygait.errors import UserError
from dygait.modeling import MODELS, build_model, complete_model_cfg
from helpers.walks import check_alone_as_in_a_padded_batch, check_padding_in_training, silhouettes, with_statistics

CHANNELS = {"deep": [2, 3, 4, 6], "shallow": [2, 3, 6]}
BINS = {"deep": [4, 2, 1], "shallow": [8]}
PARTS = {"deep": 7, "shallow": 8}
VARIANTS = ("deep", "shallow")
HEADS = ("necks", "gaitgl")


def model_cfg(variant: str = "shallow", head: str = "necks", norm: str = "none", **more: Any) -> dict[str, Any]:
    parts = PARTS[variant]
    sizes = {"class_num": 5, "in_channels": 6, "parts_num": parts}
    return {
        "model": "DyGait",
        "variant": variant,
        "channels": CHANNELS[variant],
        "bin_num": BINS[variant],
        "norm": norm,
        "input_size": [16, 12],
        **({"SeparateBNNecks": sizes} if head == "necks" else {"class_num": 5}),
        **more,
    }


def network(*arguments: str, **more: Any) -> nn.Module:
    """A network whose BatchNorms have seen something, in evaluation mode."""
    torch.manual_seed(1)
    return with_statistics(build_model(model_cfg(*arguments, **more)), torch.Generator().manual_seed(2))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("head", HEADS)
def test_alone_and_in_a_padded_batch_the_embedding_is_the_same(variant: str, norm: str, head: str) -> None:
    lengths = [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 23, 29, 30]
    check_alone_as_in_a_padded_batch(network(variant, head, norm), lengths)


@pytest.mark.parametrize("lengths", [[1, 1], [2, 1], [2, 2], [3, 2], [1, 4]])
@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_of_very_short_sequences(variant: str, lengths: list[int]) -> None:
    made, frames = network(variant), max(lengths)
    batch = silhouettes(len(lengths), frames, seed=9)
    with torch.no_grad():
        together = made(batch, torch.tensor(lengths)).inference
        for n, length in enumerate(lengths):
            alone = made(batch[n : n + 1, :length]).inference[0]
            torch.testing.assert_close(together[n], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_short_sequences_are_repeated(variant: str) -> None:
    made, walk = network(variant), silhouettes(2, 2)
    with torch.no_grad():
        assert torch.equal(made(walk).inference, made(walk[:, [0, 1, 0, 1]]).inference)
        assert torch.equal(made(walk[:, :1]).inference, made(walk[:, [0, 0, 0]]).inference)


@pytest.mark.parametrize("head", HEADS)
def test_more_padding_changes_nothing_in_training(head: str) -> None:
    """BatchNorm's statistics too are those of the frames that sequences have."""
    made = [network("shallow", head, "batch").train() for _ in range(2)]
    check_padding_in_training(made, [4, 7, 3], (7, 12))


def test_the_order_of_frames_matters_and_that_of_sequences_does_not() -> None:
    made, walks = network(), silhouettes(3, 9)
    with torch.no_grad():
        found = made(walks).inference
        torch.testing.assert_close(made(walks[[2, 0, 1]]).inference, found[[2, 0, 1]], atol=1e-6, rtol=0)
        assert (made(walks.flip(1)).inference - found).abs().max() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_forms_of_the_dam_give_the_same_network(variant: str) -> None:
    fast, plain = network(variant, norm="batch"), network(variant, norm="batch", dam="plain")
    plain.load_state_dict(fast.state_dict())
    walks, lengths = silhouettes(2, 8), torch.tensor([8, 4])
    with torch.no_grad():
        torch.testing.assert_close(plain(walks, lengths).inference, fast(walks, lengths).inference, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_ablations(variant: str, norm: str) -> None:
    """Without the subtraction: an equal-sized twin. Without the spatial branch: those weights less. In either form."""
    sizes, found, walks, lengths = [], [], silhouettes(3, 8), torch.tensor([8, 1, 4])
    for ablation in ({}, {"dynamic": False}, {"spatial": False}):
        made, plain = (network(variant, norm=norm, dam=form, **ablation) for form in ("fast", "plain"))
        sizes.append({name: p.shape for name, p in made.named_parameters()})
        with torch.no_grad():
            found.append(made(walks, lengths).inference)
            torch.testing.assert_close(plain(walks, lengths).inference, found[-1], atol=1e-5, rtol=0)
            torch.testing.assert_close(made(walks[2:, :4]).inference[0], found[-1][2], atol=1e-5, rtol=0)
    assert sizes[1] == sizes[0]
    assert sizes[2] == {name: shape for name, shape in sizes[0].items() if "spatial" not in name} != sizes[0]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (found[one] - found[other]).abs().max() > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
def test_checkpointing_changes_no_gradient(variant: str) -> None:
    results = []
    for checkpointing in (False, True):
        made = network(variant, norm="batch", checkpointing=checkpointing).train()
        output = made(silhouettes(3, 7), torch.tensor([7, 3, 5]))
        (output.embeddings.square().mean() + output.logits.square().mean()).backward()
        results.append({**{k: p.grad for k, p in made.named_parameters()}, **dict(made.named_buffers())})
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, atol=0, rtol=0, msg=name)


class TestHeads:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("head", HEADS)
    def test_shapes(self, variant: str, head: str) -> None:
        output = network(variant, head)(silhouettes(3, 4))
        assert output.embeddings.shape == output.inference.shape == (3, 6, PARTS[variant])
        assert output.logits.shape == (3, 5, PARTS[variant])

    def test_bnneck_uses_the_features_before_it(self) -> None:
        made: Any = network("shallow", "necks")
        seen: list[torch.Tensor] = []
        made.necks.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        output = made(silhouettes(3, 4))
        assert output.embeddings is seen[0]
        assert output.inference is seen[0]
        assert output.logits.abs().max() <= 1 + 1e-6
        assert made.class_num == 5

    def test_gaitgl_uses_the_features_after_its_batchnorm(self) -> None:
        made: Any = network("shallow", "gaitgl").train()
        seen: list[torch.Tensor] = []
        made.head_norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        output = made(silhouettes(4, 4))
        before = seen[0]
        mean, variance = before.mean((0, 2), keepdim=True), before.var((0, 2), unbiased=False, keepdim=True)
        scale, shift = made.head_norm.weight[:, None], made.head_norm.bias[:, None]
        expected = (before - mean) / (variance + 1e-5).sqrt() * scale + shift
        torch.testing.assert_close(output.embeddings, expected, atol=1e-5, rtol=0)
        assert output.inference is output.embeddings
        logits = torch.einsum("ncp,pck->nkp", output.embeddings, made.classifier.fc_bin)
        torch.testing.assert_close(output.logits, logits, atol=1e-6, rtol=0)

    def test_without_classes_there_are_no_logits(self) -> None:
        output = network("shallow", "gaitgl", class_num=None)(silhouettes(2, 4))
        assert output.logits is None
        assert output.inference.shape == (2, 6, 8)

    def test_separate_fcs_may_change_the_width(self) -> None:
        sizes = {"in_channels": 6, "out_channels": 4, "parts_num": 8}
        assert network("shallow", "gaitgl", SeparateFCs=sizes)(silhouettes(2, 4)).embeddings.shape == (2, 4, 8)

    @pytest.mark.parametrize("head", HEADS)
    def test_initialisation(self, head: str) -> None:
        torch.manual_seed(0)
        cfg = model_cfg("shallow", head, "batch", channels=[8, 16, 64])
        if head == "necks":
            cfg["SeparateBNNecks"] = {"class_num": 5, "in_channels": 64, "parts_num": 8}
        made = build_model(cfg)
        norms = [m for m in made.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm3d)]
        assert len(norms) == 2 * 2 * 3 + 1
        for norm in norms:  # weight N(1, 0.02)
            assert abs(norm.weight.mean().item() - 1) < 0.03
            assert 0.005 < norm.weight.std().item() < 0.04
            assert not norm.bias.any()
        for module in made.modules():
            if isinstance(module, nn.Conv3d) and module.weight.numel() > 500:
                fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(module.weight)
                expected = (2 / (fan_in + fan_out)) ** 0.5
                assert abs(module.weight.std().item() / expected - 1) < 0.1
        weights: Any = made
        assert weights.pooling.p.item() == 6.5


class TestBuilding:
    def test_the_public_face(self) -> None:
        output = dygait.build_model(model_cfg())(silhouettes(2, 4))
        assert isinstance(output, dygait.GaitOutput)

    def test_both_names(self) -> None:
        for name in ("DyGait", "Dygait"):
            assert MODELS.resolve(name) == "DyGait"
            assert type(build_model(model_cfg(model=name))).__name__ == "DyGait"

    @pytest.mark.parametrize(
        ("dataset_name", "variant"),
        [
            ("OUMVLP", "deep"),
            ("GREW", "deep"),
            ("Gait3D", "deep"),
            ("CASIA-B", "shallow"),
            ("SynGait", "shallow"),
            (None, None),
        ],
    )
    def test_the_dataset_chooses_the_variant(self, dataset_name: str | None, variant: str | None) -> None:
        completed = complete_model_cfg({"model": "DyGait", "channels": [1]}, dataset_name)
        assert completed.get("variant") == variant
        named = complete_model_cfg({"model": "Dygait", "variant": "deep"}, "CASIA-B")
        assert named["variant"] == "deep", "what the mapping says wins"

    def test_a_model_built_for_a_dataset(self) -> None:
        cfg: dict[str, Any] = {"model": "DyGait", "channels": [2, 3, 4, 6], "class_num": 3}
        output = build_model(cfg, "OUMVLP").eval()(torch.zeros(1, 3, 64, 44))
        assert output.logits.shape == (1, 3, 31)  # the deep variant's strips: 16, 8, 4, 2, 1
        output = build_model({**cfg, "channels": [2, 3, 4]}, "CASIA-B").eval()(torch.zeros(1, 3, 64, 44))
        assert output.logits.shape == (1, 3, 32)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"bin_num": [16, 3], "SeparateBNNecks": {"class_num": 5}}, r"bin_num: features 8 rows high.*\[16, 3\]"),
            ({"bin_num": [0]}, r"bin_num: .*positive"),
            ({"SeparateBNNecks": {}}, r"class_num: .*required"),
            ({"SeparateFCs": {"out_channels": 0}}, r"SeparateFCs.out_channels: must be at least 1"),
            ({"channels": [2, 3, 4, 6]}, r"channels: the shallow variant takes 3 positive numbers, got \[2, 3, 4, 6\]"),
            ({"channels": []}, r"channels: the shallow variant takes 3"),
            ({"channels": [2, 0, 6]}, r"channels: .*positive"),
            ({"variant": "wide"}, r"variant: .*'deep' or 'shallow'"),
            ({"channel": [2, 3, 6]}, r"channel: unknown key; did you mean 'channels'"),
            ({"norm": "layer"}, r"norm: .*'none' or 'batch'"),
            ({"bin_num": "16"}, r"bin_num: .*list"),
            (
                {"SeparateBNNecks": {"class_num": 5, "in_channels": 6, "parts_num": 31}},
                r"SeparateBNNecks.parts_num: must be 8 to fit the other settings, got 31",
            ),
            (
                {"SeparateBNNecks": {"class_num": 5, "in_channels": 7, "parts_num": 8}},
                r"SeparateBNNecks.in_channels: must be 6",
            ),
            ({"class_num": 9}, r"SeparateBNNecks.class_num: must be 9"),
            (
                {"SeparateFCs": {"in_channels": 5, "out_channels": 6, "parts_num": 8}},
                r"SeparateFCs.in_channels: must be 6",
            ),
            (
                {"SeparateFCs": {"in_channels": 6, "out_channels": 6, "parts_num": 1}},
                r"SeparateFCs.parts_num: must be 8",
            ),
            ({"SeparateBNNecks": {"class_num": 5, "in_channels": 6, "parts": 8}}, r"did you mean 'parts_num'"),
        ],
    )
    def test_sizes_that_do_not_fit(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            build_model({**model_cfg(), **change})(silhouettes(2, 4))

    @pytest.mark.parametrize("head", HEADS)
    def test_sizes_that_follow_may_be_left_out(self, head: str) -> None:
        given = {"in_channels": 6, "out_channels": 6, "parts_num": 8}
        whole, short = model_cfg("shallow", head, SeparateFCs=given), model_cfg("shallow", head, SeparateFCs={})
        if head == "necks":
            short |= {"SeparateBNNecks": {}, "class_num": 5}
        torch.manual_seed(0)
        expected = build_model(whole).state_dict()
        torch.manual_seed(0)
        for name, found in build_model(short).state_dict().items():
            assert torch.equal(found, expected[name]), name

    def test_silhouettes_of_another_height_do_not_fit(self) -> None:
        with pytest.raises(ValueError, match=r"bin_num: features 10 rows high"):
            network()(torch.zeros(1, 3, 20, 12))

    def test_the_release_recipe_of_gait3d_at_half_size(self) -> None:
        """32 strips do not fit the 16 rows of a 64x44 input: they need 128x88."""
        cfg = {"model": "DyGait", "channels": [1, 1, 1, 1], "bin_num": [32], "variant": "deep"}
        model = build_model(cfg).eval()
        with pytest.raises(ValueError, match="features 16 rows high"):
            model(torch.zeros(1, 3, 64, 44))
        model(torch.zeros(1, 3, 128, 88))

    @pytest.mark.parametrize(
        ("cfg", "message"),
        [
            ({"model": "GaitSett"}, "unknown model 'GaitSett'"),
            ({"model": "DiGait"}, "did you mean 'DyGait'"),
            ({}, "model: name the model: one of DeepGaitV2, DyGait, Gait"),
            ({"model": ["DyGait"]}, "model: name the model"),
            ("DyGait", "model_cfg must be a mapping"),
        ],
    )
    def test_the_name_of_the_model(self, cfg: Any, message: str) -> None:
        with pytest.raises(UserError, match=message):
            build_model(cfg)
