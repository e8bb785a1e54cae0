"""The sum of losses: weights and names; and that two processes have the gradient of one on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from dygait import distributed
from dygait.errors import UserError
from dygait.losses import LOSSES, LossAggregator, build_loss
from dygait.modeling import GaitOutput, build_model
from helpers.networks import SMALL, silhouettes
from helpers.processes import in_processes

TRIPLET = {"type": "TripletLoss", "margin": 0.2, "loss_term_weight": 1.0}
ENTROPY = {"type": "CrossEntropyLoss", "scale": 16, "loss_term_weight": 0.1, "log_accuracy": True}
LABELS = [0, 0, 1, 1, 2, 2, 0, 1]


def output(logits: bool = True) -> GaitOutput:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn((8, 4, 3), generator=generator).requires_grad_()
    return GaitOutput(embeddings, torch.randn((8, 3, 3), generator=generator) if logits else None, embeddings)


def test_the_weighted_sum() -> None:
    given, labels = output(), torch.tensor(LABELS)
    total, statistics = LossAggregator([TRIPLET, ENTROPY])(given, labels)
    triplet, found = build_loss(TRIPLET)(given.embeddings, labels)
    entropy, _ = build_loss(ENTROPY)(given.logits, labels)
    assert total.item() == pytest.approx((triplet + 0.1 * entropy).item(), rel=1e-6)
    assert statistics.keys() == {
        *("triplet/loss", "triplet/hard_loss", "triplet/loss_num", "triplet/mean_dist"),
        *("softmax/loss", "softmax/accuracy"),
    }
    assert statistics["softmax/loss"].item() == pytest.approx(entropy.item()), "statistics are not weighted"
    assert all(statistics[f"triplet/{k}"].item() == v.item() for k, v in found.items())


def test_prefixes() -> None:
    terms = [{**TRIPLET, "log_prefix": "near"}, ENTROPY]
    assert LossAggregator(terms).prefixes == ["near", "softmax"]
    assert LossAggregator([TRIPLET, {**TRIPLET, "log_prefix": None}, ENTROPY]).prefixes == [
        "triplet0",
        "triplet1",
        "softmax",
    ]
    _, statistics = LossAggregator([TRIPLET, {**TRIPLET, "margin": 5.0}])(output(), torch.tensor(LABELS))
    assert statistics["triplet1/loss"] > statistics["triplet0/loss"], "neither hides the other"


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    """In every loss, under autocast; its statistics have no gradient."""
    x = torch.rand((4, 3, 3), generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    labels = (x > 0.5).float() if LOSSES.get(name).compares_with == "masks" else torch.tensor([0, 0, 1, 1])
    with torch.autocast("cpu", torch.bfloat16):
        loss, statistics = build_loss({"type": name})(x, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, build_loss({"type": name})(x.float(), labels)[0])
    assert torch.equal(loss, statistics["loss"])
    assert not any(value.requires_grad for value in statistics.values())


def test_a_loss_that_reads_missing_logits() -> None:
    with pytest.raises(UserError, match=r"CrossEntropyLoss reads logits"):
        LossAggregator([TRIPLET, ENTROPY])(output(logits=False), torch.tensor(LABELS))
    LossAggregator([TRIPLET])(output(logits=False), torch.tensor(LABELS))


def gradients(name: str, lengths: list[int] | None, terms: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a tiny network with respect to its weights, after this process's share of the batch went through it."""
    torch.manual_seed(5)
    model = build_model({**SMALL[name], "norm": "batch"})
    model.train()
    for module in model.modules():  # as fix_BN does: statistics of a share are not those of the whole
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    rank, world = distributed.rank(), distributed.world_size()
    wrapped = DistributedDataParallel(model) if world > 1 else model
    walks = silhouettes(8, 6, seed=1)
    counts = None if lengths is None else torch.tensor(lengths)[rank::world]
    labels = torch.tensor(LABELS)[rank::world]
    total, statistics = LossAggregator(terms)(wrapped(walks[rank::world], counts), labels)
    total.backward()
    return {
        "gradients": {name: parameter.grad for name, parameter in model.named_parameters()},
        "triplet": {k: v.item() for k, v in statistics.items() if k.startswith("triplet")},
    }


CASES: dict[str, tuple[str, list[int] | None, list[dict[str, Any]]]] = {
    "both, necks": ("DyGait necks", None, [TRIPLET, ENTROPY]),
    "both, gaitgl, padded": ("DyGait", [6, 3, 6, 1, 5, 4, 2, 6], [TRIPLET, {**ENTROPY, "loss_term_weight": 1.0}]),
}


def all_cases() -> dict[str, Any]:
    return {name: gradients(*case) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("two")
    return in_processes(all_cases, 2, folder)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradient_of_one_on_the_whole_batch(
    case: str, of_two_processes: list[dict[str, Any]]
) -> None:
    alone = gradients(*CASES[case])
    for share in of_two_processes:
        found = share[case]
        assert found["gradients"].keys() == alone["gradients"].keys()
        for name, expected in alone["gradients"].items():
            torch.testing.assert_close(found["gradients"][name], expected, atol=1e-5, rtol=0, msg=name)
        assert found["triplet"] == pytest.approx(alone["triplet"], rel=1e-5), "every process sees the whole batch's"
    sizes = [g.abs().max().item() for g in alone["gradients"].values()]
    assert min(sizes) > 1e-4, "comparing zeros shows nothing"
