"""GaitSSB: separate statistics of its two views, frozen layers, learning rates and their minimum."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from dygait.config import load_config
from dygait.training import optimizers, schedules
from helpers.experiments import tiny_settings
from helpers.networks import HEIGHT, SMALL, WIDTH, network, silhouettes


def test_views_have_separate_statistics() -> None:
    """Predictions and running statistics are those of a forward pass for each view in turn."""
    joint: Any = network("GaitSSB_Pretrain").train()
    separate: Any = copy.deepcopy(joint)
    walks = silhouettes(6, 5)
    output = joint(walks)
    projections = [separate.project(view[:, :, None], None) for view in walks.split(3)]
    predictions = [separate.predictor(projection) for projection in projections]
    for view in range(2):
        assert torch.equal(output.predictions[:, view], predictions[view])
        assert torch.equal(output.targets[:, view], projections[1 - view])
    assert not output.targets.requires_grad
    assert torch.equal(output.embeddings, F.normalize(torch.cat(predictions), dim=1))
    assert output.inference is output.embeddings
    for actual, expected in zip(joint.buffers(), separate.buffers(), strict=True):
        assert torch.equal(actual, expected)
    assert joint.eval()(walks).predictions is None


def test_padding_changes_nothing_in_training() -> None:
    results = []
    for frames in (7, 10):
        model = network("GaitSSB_Pretrain").double().train()
        batch = torch.rand(6, frames, HEIGHT, WIDTH, dtype=torch.float64)
        batch[:, :7] = silhouettes(6, 7)
        output = model(batch, torch.tensor([4, 7, 3, 1, 2, 7]))
        output.predictions.square().mean().backward()
        results.append([output.predictions, output.targets, *model.buffers(), *(p.grad for p in model.parameters())])
    for padded, more_padded in zip(*results, strict=True):
        torch.testing.assert_close(padded, more_padded)


def test_an_odd_batch_has_no_two_views() -> None:
    with pytest.raises(ValueError, match="two views"):
        network("GaitSSB_Pretrain").train()(silhouettes(3, 4))


def test_parts_of_length_one_and_cosines() -> None:
    lengths = network("GaitSSB_Pretrain")(silhouettes(2, 4)).inference.norm(dim=1)
    assert lengths[lengths > 0].tolist() == pytest.approx([1] * 13)  # one part of this small network is all zeros
    model: Any = network("GaitSSB_Finetune")
    features = F.normalize(model.project(silhouettes(2, 4)[:, :, None], None), dim=1)
    columns = model.head0.fc_bin / model.head0.fc_bin.norm(dim=1, keepdim=True)
    expected = torch.stack([features[:, :, part] @ columns[part] for part in range(7)], 2)
    torch.testing.assert_close(model(silhouettes(2, 4)).embeddings, expected)


def test_frozen_layers() -> None:
    model = network("GaitSSB_Finetune")
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"conv1", "bn1", "layer1"}
    assert all(not name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))
               for name, p in model.named_parameters() if p.requires_grad)  # fmt: skip


def learning_rates(folder: Path, **sections: Any) -> list[list[float]]:
    """Return the learning rate of every group in each of ten iterations."""
    settings = tiny_settings(folder, folder / "partition.json")
    settings |= {"model_cfg": SMALL["GaitSSB_Finetune"], "loss_cfg": settings["loss_cfg"][:1]}
    settings["optimizer_cfg"] = {"solver": "SGD", "lr": 0.5, "momentum": 0.9}
    for section, changes in sections.items():
        settings[section] = {**settings[section], **changes}
    path = folder / "gaitssb.yaml"
    path.write_text(yaml.safe_dump(settings))
    config, model = load_config(path), network("GaitSSB_Finetune")
    optimizer = optimizers.build_optimizer(config, model)
    scheduler = schedules.build_scheduler(config, optimizer, model.least_lr)  # type: ignore[arg-type]
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def test_learning_rates_of_stages_projector_and_head_and_their_minimum(tmp_path: Path) -> None:
    """In the order head, trained stages, projector; divided by 100 at three milestones, down to 1e-4."""
    milestones = {"milestones": [2, 4, 6], "gamma": 0.01}
    rates = learning_rates(tmp_path, scheduler_cfg=milestones)
    for iteration, actual in enumerate(rates):
        factor = 0.01 ** sum(iteration >= m for m in milestones["milestones"])  # type: ignore[attr-defined]
        assert actual == pytest.approx([max(1e-4, rate * factor) for rate in (0.5, 0.1, 0.2, 0.3, 0.4)])


def test_configured_groups_replace_those_of_the_model(tmp_path: Path) -> None:
    groups = [{"match": "head0.*", "lr": 0.25}]
    rates = learning_rates(tmp_path, optimizer_cfg={"param_groups": groups}, scheduler_cfg={"milestones": [20]})
    assert rates == [[0.5, 0.25]] * 10
    assert math.isclose(max(map(max, rates)), 0.5)
