"""MuonAdamW against loops over matrices, in double precision, and against PyTorch's AdamW and Muon."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from dygait.training.muon import MuonAdamW, orthogonalize
from dygait.training.trainer import build_trainer
from helpers.networks import config_of

SETTINGS = {"lr": 0.02, "weight_decay": 0.1}
SCALE = 0.2
SHAPES = {
    "convolution": (4, 3, 3, 3, 3),
    "tall convolution": (8, 2, 1, 1, 3),
    "parts": (3, 5, 7),
    "linear": (6, 4),
    "bias": (5,),
    "unused": (2, 2),
}


def plain_orthogonalize(matrix: torch.Tensor) -> torch.Tensor:
    """Return U f(S) V for U S V, a singular value decomposition: f are the five quintics."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


def reference(weights: torch.Tensor, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return weights of two or more dimensions after a step for each gradient, in double precision."""
    weights, momentum = weights.double(), torch.zeros_like(weights, dtype=torch.float64)
    for gradient in gradients:
        momentum = 0.95 * momentum + gradient
        weights = weights * (1 - SETTINGS["lr"] * SETTINGS["weight_decay"])
        step = gradient + 0.95 * momentum
        for part in range(weights.shape[0]) if weights.ndim == 3 else [...]:
            matrix = step[part].reshape(step[part].shape[0], -1)
            update = plain_orthogonalize(matrix) * SCALE * max(matrix.shape) ** 0.5
            weights[part] -= SETTINGS["lr"] * update.reshape(weights[part].shape)
    return weights


def parameters_and_gradients(steps: int) -> tuple[dict[str, torch.nn.Parameter], dict[str, list[torch.Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}
    return weights, {n: [torch.randn(SHAPES[n], generator=generator) for _ in range(steps)] for n in SHAPES}


def drive(
    optimizer: torch.optim.Optimizer,
    weights: dict[str, torch.nn.Parameter],
    gradients: dict[str, list[torch.Tensor]],
    steps: range,
) -> None:
    for step in steps:
        for name, parameter in weights.items():
            parameter.grad = None if name == "unused" else gradients[name][step].clone()
        optimizer.step()


@pytest.mark.parametrize("shape", [(4, 4), (4, 50), (50, 4), (1, 9), (3, 6, 8)])
@pytest.mark.parametrize("decades", [0, 2, 5])
def test_orthogonalize(shape: tuple[int, ...], decades: int) -> None:
    u, s, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    s = torch.logspace(0, -decades, s.shape[-1]).expand_as(s)
    matrices = u * s[..., None, :] @ v
    actual = orthogonalize(matrices)
    expected = torch.stack([plain_orthogonalize(one) for one in matrices.view(-1, *shape[-2:])]).view(shape)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=5e-4)
    torch.testing.assert_close(orthogonalize(matrices.double()), expected, rtol=0, atol=1e-9)
    large = torch.linalg.svdvals(actual)[s > 0.002 * s.norm(dim=-1, keepdim=True)]
    assert large.min() > 0.68
    assert large.max() < 1.21
    torch.testing.assert_close(orthogonalize(1000 * matrices), actual, rtol=0, atol=5e-4)


def test_orthogonalize_zero() -> None:
    assert orthogonalize(torch.zeros(2, 3)).eq(0).all()


def test_steps() -> None:
    """Matrices take the steps of the reference, vectors those of AdamW; without a gradient nothing changes."""
    weights, gradients = parameters_and_gradients(4)
    initial = copy.deepcopy(weights)
    drive(MuonAdamW(weights.values(), betas=(0.8, 0.9), **SETTINGS), weights, gradients, range(4))
    adamw = copy.deepcopy(initial)
    drive(torch.optim.AdamW(adamw.values(), betas=(0.8, 0.9), **SETTINGS), adamw, gradients, range(4))
    torch.testing.assert_close(weights["bias"], adamw["bias"])
    assert weights["unused"].equal(initial["unused"])
    for name in ("convolution", "tall convolution", "parts", "linear"):
        expected = reference(initial[name].detach(), gradients[name])
        torch.testing.assert_close(weights[name].double(), expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with PyTorch 2.9")
def test_steps_of_matrices_are_those_of_pytorch() -> None:
    """PyTorch's orthogonalises in bfloat16."""
    weights, gradients = parameters_and_gradients(3)
    ours, theirs = ({"linear": copy.deepcopy(weights["linear"])} for _ in range(2))
    drive(MuonAdamW(ours.values(), **SETTINGS), ours, gradients, range(3))
    drive(torch.optim.Muon(theirs.values(), adjust_lr_fn="match_rms_adamw", **SETTINGS), theirs, gradients, range(3))
    torch.testing.assert_close(ours["linear"], theirs["linear"], rtol=0, atol=1e-3)
    assert (ours["linear"] - weights["linear"]).abs().max() > 0.02


def test_continues_from_its_state() -> None:
    weights, gradients = parameters_and_gradients(4)
    other = copy.deepcopy(weights)
    whole, first = MuonAdamW(weights.values(), **SETTINGS), MuonAdamW(other.values(), **SETTINGS)
    drive(whole, weights, gradients, range(4))
    drive(first, other, gradients, range(2))
    second = MuonAdamW(other.values(), lr=1.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    drive(second, other, gradients, range(2, 4))
    assert all(weights[name].equal(other[name]) for name in weights)


def test_scale_and_groups() -> None:
    """The step of a matrix is in proportion to `scale`; a group with `muon: False` takes the steps of AdamW."""
    weights, gradients = parameters_and_gradients(3)
    initial, adamw = copy.deepcopy(weights), copy.deepcopy(weights)
    groups = [{"params": [weights["linear"]], "scale": 0.6}, {"params": [weights["parts"]], "muon": False}]
    drive(MuonAdamW(groups, lr=0.02, weight_decay=0.0), weights, gradients, range(3))
    drive(torch.optim.AdamW([adamw["parts"]], lr=0.02, weight_decay=0.0), adamw, gradients, range(3))
    torch.testing.assert_close(weights["parts"], adamw["parts"])
    plain = copy.deepcopy(initial)
    drive(MuonAdamW([plain["linear"]], lr=0.02, weight_decay=0.0), plain, gradients, range(3))
    steps = [values["linear"] - initial["linear"] for values in (weights, plain)]
    torch.testing.assert_close(steps[0], 3 * steps[1])


def test_class_head_takes_the_steps_of_adamw(tmp_path: Path) -> None:
    groups = {"match": "necks.*", "lr": 0.02}
    section = f"optimizer_cfg={{solver: MuonAdamW, lr: 0.01, param_groups: [{json.dumps(groups)}]}}"
    trainer = build_trainer(config_of("DyGait", tmp_path, section), torch.device("cpu"))
    names = {parameter: name for name, parameter in trainer.network.named_parameters()}
    found = [({names[p] for p in g["params"]}, g["muon"], g["initial_lr"]) for g in trainer.optimizer.param_groups]
    assert found[1:] == [({"necks.bn1d.weight", "necks.bn1d.bias"}, True, 0.02), ({"necks.fc_bin"}, False, 0.02)]
    assert set.union(*(group for group, _, _ in found)) == set(names.values())


def test_closure() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = MuonAdamW([weight], lr=0.1)

    def closure() -> torch.Tensor:
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4
    assert (weight < 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, "momentum must be"),
        ({"betas": (0.9, 1.0)}, "betas must be"),
        ({"lr": 0.0}, "lr, scale and eps"),
        ({"scale": -1.0}, "lr, scale and eps"),
        ({"weight_decay": -1.0}, "weight_decay at least 0"),
    ],
)
def test_invalid_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MuonAdamW([torch.zeros(1)], **settings)
