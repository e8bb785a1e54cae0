"""Every model: parameters, shapes, heads, padded batches, variants, and sizes that do not fit."""

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dygait.config import load_config
from dygait.errors import UserError
from dygait.modeling import MODELS, GaitOutput, build_model, complete_model_cfg
from helpers.experiments import REPOSITORY
from helpers.networks import CLASSES, SMALL, network, silhouettes
from reference import parts

GAITSSB = ("GaitSSB_Pretrain", "GaitSSB_Finetune")  # tests/modeling/test_gaitssb.py has its heads
WITHOUT_LOGITS = ("GaitSet", "GaitPart", "GLN", *GAITSSB)
GAITGL_HEAD = ("GaitGL", "GaitGL deep", "DyGait", "DyGait deep")
OVER_TIME = [name for name in SMALL if name.startswith(("GaitGL", "DyGait"))]
ALSO_OVER_TIME = ("GaitPart", "SkeletonGait", "SkeletonGaitPP", "MultiGaitpp", "SwinGait")
FEATURES = {"SkeletonGaitPP": 128, "MultiGaitpp": 128, "SwinGait": 16}
every = pytest.mark.parametrize("name", SMALL)


# tests/test_configs.py has those of the other models.
@pytest.mark.parametrize(
    ("config", "expected"),
    [("GaitSet_OUMVLP", 6_313_536), ("GaitPart_OUMVLP", 4_841_248), ("GaitGL_OUMVLP", 95_620_449)],
)
def test_parameter_counts_are_those_of_opengait(config: str, expected: int) -> None:
    settings = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    with torch.device("meta"):
        model = build_model(settings.model_cfg.model_dump(exclude_none=True), settings.data_cfg.dataset_name)
    assert sum(p.numel() for p in model.parameters()) == expected


@every
def test_shapes(name: str) -> None:
    output = network(name)(silhouettes(3, 5, name=name))
    count = sum(SMALL[name]["bin_num"]) * {"GaitSet": 2, "GLN": 3}.get(SMALL[name]["model"], 1)
    assert isinstance(output, GaitOutput)
    channels = FEATURES.get(name, 6)
    assert output.embeddings.shape == (3, channels, count)
    assert output.inference.shape == (3, CLASSES if name == "ScoNet" else channels, count)
    if name in WITHOUT_LOGITS:
        assert output.logits is None
    else:
        assert output.logits.shape == (3, CLASSES, 1 if name == "GLN phase 2" else count)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in GAITSSB])
def test_heads(name: str) -> None:
    """BNNecks give cosines of their input; GaitGL's head normalises the features for embeddings and logits."""
    model: Any = network(name)
    seen: list[torch.Tensor] = []
    model.fcs.register_forward_hook(lambda module, inputs, output: seen.append(output))
    output = model(silhouettes(3, 5, name=name))
    (features,) = seen
    if name in WITHOUT_LOGITS:
        assert output.inference is output.embeddings is features
        assert output.after_neck is None
        return
    assert model.class_num == CLASSES
    if name in GAITGL_HEAD:
        norm = model.head_norm
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        expected = features * scale[:, None] + (norm.bias - norm.running_mean * scale)[:, None]
        torch.testing.assert_close(output.embeddings, expected, atol=1e-5, rtol=0)
        assert output.inference is output.embeddings
        assert output.after_neck is None
        logits = [parts.separate_fcs(e, model.classifier.fc_bin.tolist()) for e in output.embeddings.tolist()]
        torch.testing.assert_close(output.logits, torch.tensor(logits), atol=1e-5, rtol=0)
        return
    if name == "GLN phase 2":
        assert output.inference is output.embeddings is features
        assert output.after_neck is None
        reduced = F.relu(model.encoder_bn(features.flatten(1))) @ model.reduce_fc.weight.T
        logits = model.reduce_bn(reduced) @ model.reduce_cls.weight.T
        torch.testing.assert_close(output.logits, logits[:, :, None], atol=1e-6, rtol=0)
        return
    valid_parts = slice(-1) if name == "SwinGait" else slice(None)  # its last part is a copy of another
    torch.testing.assert_close(output.embeddings, features[:, :, valid_parts], atol=0, rtol=0)
    compared = "after_neck" if SMALL[name].get("use_emb2") else "logits" if name == "ScoNet" else "embeddings"
    assert output.inference is getattr(output, compared)
    flat = F.normalize(model.necks.bn1d(features.flatten(1)).view_as(features), dim=1)
    logits = torch.einsum("ncp,pck->nkp", flat, F.normalize(model.necks.fc_bin, dim=1))
    torch.testing.assert_close(output.logits, logits[:, :, valid_parts], atol=1e-6, rtol=0)
    torch.testing.assert_close(output.after_neck, flat[:, :, valid_parts], atol=1e-6, rtol=0)


def test_gaitgls_head_with_other_sizes() -> None:
    """Without classes there are no logits; separate FCs may change the width."""
    sizes = {"in_channels": 6, "out_channels": 4, "parts_num": 8}
    output = network("DyGait", class_num=None, SeparateFCs=sizes)(silhouettes(2, 4))
    assert output.logits is None
    assert output.embeddings.shape == output.inference.shape == (2, 4, 8)


@every
def test_alone_and_in_a_padded_batch_a_sequence_gives_the_same(name: str) -> None:
    model, lengths = network(name).double(), [1, 2, 3, 4, 5, 6, 7, 11, 12, 30]
    walks = [silhouettes(1, length, length, name).double() for length in lengths]
    batch = torch.rand(len(lengths), max(lengths) + 1, *walks[0].shape[2:]).double()  # values in padding are ignored
    for row, walk in zip(batch, walks, strict=True):
        row[: walk.shape[1]] = walk[0]
    with torch.no_grad():
        outputs = model(batch, torch.tensor(lengths))
        for n, walk in enumerate(walks):
            for key, alone, batched in zip(GaitOutput._fields, model(walk), outputs, strict=True):
                if alone is not None:
                    assert alone.abs().max() > 1e-3
                    torch.testing.assert_close(batched[n], alone[0], atol=1e-10, rtol=0, msg=f"{key} of {lengths[n]}")


@pytest.mark.parametrize("name", [name for name in SMALL if name != "GaitSSB_Pretrain"])
@pytest.mark.parametrize("lengths", [[4, 7, 3], [1, 2, 7]])
def test_more_padding_changes_nothing_in_training(name: str, lengths: list[int]) -> None:
    """Neither embeddings, nor gradients, nor the statistics of BatchNorm, which are those of valid frames."""
    results: list[dict[str, torch.Tensor]] = []
    for frames in (7, 10):
        model = network(name).train()
        batch = torch.zeros_like(silhouettes(3, frames, name=name))
        batch[:, :7] = silhouettes(3, 7, name=name)
        output = model(batch, torch.tensor(lengths))
        loss = output.embeddings.square().mean()
        (loss if output.logits is None else loss + output.logits.square().mean()).backward()
        gradients = {f"gradient of {k}": p.grad for k, p in model.named_parameters() if p.grad is not None}
        assert len(gradients) == sum(p.requires_grad for p in model.parameters())
        assert all(g.any() and torch.isfinite(g).all() for g in gradients.values())
        results.append({"embeddings": output.embeddings, **gradients, **dict(model.named_buffers())})
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, atol=1e-5, rtol=1e-4, msg=key)


@every
def test_the_order_of_frames_matters_to_temporal_models(name: str) -> None:
    model, walks = network(name), silhouettes(2, 9, name=name)
    walks[:, 5:] *= 0.5
    with torch.no_grad():
        change = model(walks[:, [0, 2, 1, *range(3, 9)]]).inference - model(walks).inference
    assert (change.abs().max() > 1e-5) == (name in OVER_TIME or name in ALSO_OVER_TIME or "3d" in name)


@pytest.mark.parametrize("name", OVER_TIME)
def test_short_sequences_are_repeated(name: str) -> None:
    model, walk = network(name), silhouettes(2, 2, name=name)
    with torch.no_grad():
        assert torch.equal(model(walk).inference, model(walk[:, [0, 1, 0, 1]]).inference)
        assert torch.equal(model(walk[:, :1]).inference, model(walk[:, [0, 0, 0]]).inference)


@every
def test_half_precision_is_near(name: str) -> None:
    model, walks = network(name), silhouettes(2, 6, name=name)
    with torch.no_grad():
        full = model(walks).inference
        with torch.autocast("cpu", torch.bfloat16):
            half = model(walks).inference.float()
    assert (half - full).abs().max() < 0.05 * full.abs().max()


@pytest.mark.parametrize("name", ["DyGait", "DyGait necks", "DyGait deep", "DyGait deep necks"])
def test_ablations(name: str) -> None:
    """Without the subtraction weights have the same shapes; without the spatial branch, it has none. In both forms."""
    sizes, embeddings, walks, lengths = [], [], silhouettes(3, 8, name=name), torch.tensor([8, 1, 4])
    for ablation in ({}, {"dynamic": False}, {"spatial": False}):
        fast, plain = (network(name, dam=form, **ablation) for form in ("fast", "plain"))
        sizes.append({name: p.shape for name, p in fast.named_parameters()})
        with torch.no_grad():
            embeddings.append(fast(walks, lengths).inference)
            torch.testing.assert_close(plain(walks, lengths).inference, embeddings[-1], atol=1e-5, rtol=0)
            torch.testing.assert_close(fast(walks[2:, :4]).inference[0], embeddings[-1][2], atol=1e-5, rtol=0)
    assert sizes[1] == sizes[0]
    assert sizes[2] == {name: shape for name, shape in sizes[0].items() if "spatial" not in name} != sizes[0]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (embeddings[first] - embeddings[second]).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "alias"), [("DyGait", "Dygait"), ("GaitBase", "Baseline"), ("GaitBase", "LidarGait")])
def test_both_names(name: str, alias: str) -> None:
    assert MODELS.get(alias) is MODELS.get(name)


@pytest.mark.parametrize(
    ("model", "dataset", "variant"),
    [
        *(("DyGait", dataset, "deep") for dataset in ("OUMVLP", "GREW", "Gait3D")),
        *(("DyGait", dataset, "shallow") for dataset in ("CASIA-B", "SynGait")),
        *(("GaitGL", dataset, "deep") for dataset in ("OUMVLP", "GREW")),
        *(("GaitGL", dataset, "shallow") for dataset in ("CASIA-B", "Gait3D")),
        ("DyGait", None, None),
    ],
)
def test_the_dataset_chooses_the_variant(model: str, dataset: str | None, variant: str | None) -> None:
    assert complete_model_cfg({"model": model}, dataset).get("variant") == variant
    assert complete_model_cfg({"model": model, "variant": "deep"}, dataset)["variant"] == "deep", "given explicitly"
    if variant is not None:
        channels = [2, 3, 4, 6] if variant == "deep" else [2, 3, 4]
        build_model({"model": model, "channels": channels}, dataset)


FCS = {"in_channels": 8, "out_channels": 6, "parts_num": 4}
NECKS = {"class_num": CLASSES, "in_channels": 6, "parts_num": 8}
RESNET = SMALL["GaitBase"]["backbone_cfg"]
PLAIN = SMALL["GaitPart"]["backbone_cfg"]
BACKBONE = SMALL["DeepGaitV2 2d"]["Backbone"]
SWIN = SMALL["SwinGait"]["Backbone"]
BLOCKS = SMALL["SkeletonGaitPP"]["Backbone"]
UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("GaitBase", {"backbone_cfg": {**RESNET, "block": "Bottleneck"}}, "backbone_cfg.block: input should be 'BasicBlo"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "layers": [1, 1, 1]}}, "backbone_cfg.layers: .* takes 4 positive numbers"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "in_channel": 0}}, "backbone_cfg.in_channel: must be at least 1"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "in_channel": 2}}, "takes frames of 2 channels, got 1"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "stride": [1] * 4}}, "backbone_cfg.stride: unknown key; did you mean"),
    ("GaitBase", {"backbone_cfg": {**RESNET, "type": "ResNet50"}}, "backbone_cfg.type: unknown backbone"),
    ("GaitBase", {"backbone_cfg": {"channels": [1]}}, "backbone_cfg.type: name the backbone"),
    ("GaitBase", {"SeparateFCs": {**FCS, "in_channels": 9}}, r"SeparateFCs\.in_channels: must be 8"),
    ("GaitBase", {"SeparateBNNecks": {**NECKS, "parts_num": 3}}, r"SeparateBNNecks\.parts_num: must be 4"),
    ("GaitBase", {"SeparateBNNecks": {"class_num": 5, "part_weights": [1.0]}}, r"\.part_weights: give 4"),
    ("GaitBase plain", {"backbone_cfg": {"type": "Plain"}}, "backbone_cfg.layers_cfg: this key is required"),
    ("DeepGaitV2 2d", {"Backbone": {**BACKBONE, "mode": "4d"}}, r"Backbone\.mode: input should be '2d', 'p3d' or '3d'"),
    ("DeepGaitV2 2d", {"SeparateBNNecks": {"class_num": 0}}, r"SeparateBNNecks\.class_num: must be at least 1"),
    ("SkeletonGait", {"Backbone": {**BACKBONE, "in_channels": 1}}, "takes frames of 1 channels, got 2"),
    ("SkeletonGaitPP", {"Backbone": {**BLOCKS, "in_channels": 2}}, r"Backbone\.in_channels: must be 3"),
    ("MultiGaitpp", {"Backbone": {**BLOCKS, "part1_channel": 1, "part2_channel": 0}}, "part2_channel: .*at least 1"),
    ("GaitSet", {"in_channels": [1, 4, 8]}, "in_channels: .*4 positive numbers"),
    ("GLN", {"hidden_dim": 7}, r"SeparateFCs\.out_channels: must be 7"),
    ("GLN phase 2", {"class_num": None}, "class_num: this key is required"),
    ("SwinGait", {"Backbone": {**SWIN, "embed_dim": 24}}, "Backbone.embed_dim: must be a multiple of 16, got 24"),
    ("SwinGait", {"Backbone": {**SWIN, "mode": "3d"}}, "Backbone.mode: input should be 'p3d'"),
    ("SwinGait", {"SeparateBNNecks": {"class_num": 5, "parts_num": 5}}, r"SeparateBNNecks\.parts_num: must be 6"),
    ("SwinGait", {"bin_num": [4], "SeparateBNNecks": {"class_num": 5}}, "bin_num: features 15 rows high"),
    ("GaitPart", {"backbone_cfg": {**PLAIN, "layers_cfg": ["BC"]}}, "backbone_cfg.layers_cfg: 'BC' is no"),
    ("GaitPart", {"backbone_cfg": {**PLAIN, "layers_cfg": ["BC-2"]}}, "at least 4 channels"),
    ("GaitPart", {"backbone_cfg": RESNET}, "backbone_cfg.type: must be Plain"),
    ("GaitGL", {"channels": [2, 3]}, "channels: .*takes 3"),
    ("GaitGL", {"bin_num": [32]}, "bin_num: features 16 rows high"),
    ("DyGait", {"bin_num": [0]}, r"bin_num: .*positive"),
    ("DyGait", {"bin_num": "16"}, r"bin_num: .*list"),
    ("DyGait", {"class_num": None, "SeparateBNNecks": {}}, r"class_num: .*required"),
    ("DyGait", {"SeparateFCs": {"out_channels": 0}}, r"SeparateFCs.out_channels: must be at least 1"),
    ("GaitSSB_Pretrain", {"parts_num": 31}, "parts_num: must be 7"),
    ("GaitSSB_Pretrain", {"backbone_cfg": PLAIN}, "backbone_cfg.type: must be ResNet9"),
    ("GaitSSB_Finetune", {"backbone_lr": [0.1] * 3}, "backbone_lr: .*at least 4"),
    ("GaitSSB_Finetune", {"backbone_lr": [0.1] * 3 + [-0.1]}, "backbone_lr.3: .*greater than or equal to 0"),
    ("GaitSSB_Finetune", {"projector_lr": 0.0}, "projector_lr: .*greater than 0"),
    ("DyGait", {"variant": "wide"}, r"variant: .*'deep' or 'shallow'"),
    ("DyGait", {"norm": "layer"}, r"norm: .*'none' or 'batch'"),
    ("DyGait necks", {"class_num": 9}, r"SeparateBNNecks.class_num: must be 9"),
    ("DyGait necks", {"SeparateBNNecks": {**NECKS, "parts": 8}}, r"did you mean 'parts_num'"),
]


@pytest.mark.parametrize(("name", "change", "message"), UNFIT, ids=str)
def test_sizes_that_do_not_fit(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model({**SMALL[name], **change})(silhouettes(2, 4, name=name))


def test_a_tuple_of_modalities_is_stacked() -> None:
    model, frames = network("SkeletonGaitPP"), silhouettes(2, 4, name="SkeletonGaitPP")
    wide = F.pad(frames[:, :, :2], (2, 2))
    output = model((wide, frames[:, :, 2]), torch.tensor([4, 3]))
    torch.testing.assert_close(output, model(frames, torch.tensor([4, 3])), atol=0, rtol=0)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "SwinGait"])  # it resizes its maps
def test_silhouettes_of_another_height_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match="rows"):
        network(name)(F.pad(silhouettes(1, 3, name=name), (0, 0, 0, 4)))


@every
def test_derived_sizes_may_be_left_out(name: str) -> None:
    short = {key: {} if key == "SeparateBNNecks" else value for key, value in SMALL[name].items()}
    if "class_num" in inspect.signature(MODELS.get(short["model"])).parameters:
        short["class_num"] = CLASSES
    if "SeparateFCs" in short:
        short["SeparateFCs"] = {"out_channels": 6}
    state = build_model(short).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in network(name).state_dict().items()}


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({}, "model: name the model: one of DeepGaitV2, DyGait, "),
        ("DyGait", "model_cfg must be a mapping"),
    ],
)
def test_the_name_of_the_model(cfg: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(cfg)
