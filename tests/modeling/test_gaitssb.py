"""GaitSSB: two views with statistics of their own, what is frozen, learning rates and their floor."""

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


def test_each_view_has_statistics_of_its_own() -> None:
    """Its predictions and running statistics are those of one view after the other."""
    made: Any = network("GaitSSB_Pretrain").train()
    apart: Any = copy.deepcopy(made)
    walks = silhouettes(6, 5)
    output = made(walks)
    projections = [apart.project(view[:, :, None], None) for view in walks.split(3)]
    predictions = [apart.predictor(projection) for projection in projections]
    for view in range(2):
        assert torch.equal(output.predictions[:, view], predictions[view])
        assert torch.equal(output.targets[:, view], projections[1 - view])
    assert not output.targets.requires_grad
    assert torch.equal(output.embeddings, F.normalize(torch.cat(predictions), dim=1))
    assert output.inference is output.embeddings
    for one, other in zip(made.buffers(), apart.buffers(), strict=True):
        assert torch.equal(one, other)
    assert made.eval()(walks).predictions is None


def test_padding_changes_nothing_in_training() -> None:
    found = []
    for frames in (7, 10):
        made = network("GaitSSB_Pretrain").double().train()
        batch = torch.rand(6, frames, HEIGHT, WIDTH, dtype=torch.float64)
        batch[:, :7] = silhouettes(6, 7)
        output = made(batch, torch.tensor([4, 7, 3, 1, 2, 7]))
        output.predictions.square().mean().backward()
        found.append([output.predictions, output.targets, *made.buffers(), *(p.grad for p in made.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_an_odd_batch_has_no_two_views() -> None:
    with pytest.raises(ValueError, match="two views"):
        network("GaitSSB_Pretrain").train()(silhouettes(3, 4))


def test_parts_of_length_one_and_cosines() -> None:
    lengths = network("GaitSSB_Pretrain")(silhouettes(2, 4)).inference.norm(dim=1)
    assert lengths[lengths > 0].tolist() == pytest.approx([1] * 13)  # of so small a network, no unit of one is active
    made: Any = network("GaitSSB_Finetune")
    features = F.normalize(made.project(silhouettes(2, 4)[:, :, None], None), dim=1)
    columns = made.head0.fc_bin / made.head0.fc_bin.norm(dim=1, keepdim=True)
    expected = torch.stack([features[:, :, part] @ columns[part] for part in range(7)], 2)
    torch.testing.assert_close(made(silhouettes(2, 4)).embeddings, expected)


def test_what_is_frozen() -> None:
    made = network("GaitSSB_Finetune")
    frozen = {name for name, p in made.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"conv1", "bn1", "layer1"}
    assert all(not name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))
               for name, p in made.named_parameters() if p.requires_grad)  # fmt: skip


def scheduled(folder: Path, **sections: Any) -> list[list[float]]:
    """Return the learning rates of every group in each of ten iterations."""
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


def test_learning_rates_of_stages_projector_and_head_and_their_floor(tmp_path: Path) -> None:
    """In the order head, trained stages, projector; divided by 100 at three milestones, down to 1e-4."""
    milestones = {"milestones": [2, 4, 6], "gamma": 0.01}
    rates = scheduled(tmp_path, scheduler_cfg=milestones)
    for iteration, found in enumerate(rates):
        factor = 0.01 ** sum(iteration >= m for m in milestones["milestones"])  # type: ignore[attr-defined]
        assert found == pytest.approx([max(1e-4, rate * factor) for rate in (0.5, 0.1, 0.2, 0.3, 0.4)])


def test_own_groups_take_the_place_of_the_models(tmp_path: Path) -> None:
    groups = [{"match": "head0.*", "lr": 0.25}]
    rates = scheduled(tmp_path, optimizer_cfg={"param_groups": groups}, scheduler_cfg={"milestones": [20]})
    assert rates == [[0.5, 0.25]] * 10
    assert math.isclose(max(map(max, rates)), 0.5)
