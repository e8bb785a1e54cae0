"""CosineStepLR against a loop that sets the learning rates as OpenGait's SwinGait does."""

import math

import pytest
import torch

from dygait.training.schedules import CosineStepLR


def by_loop(rate: float, iterations: int, t_max: int, held: int, least: float) -> list[float]:
    found, initial = [], rate
    for iteration in range(iterations):
        if iteration < t_max and iteration % held == 0:
            rate = max(initial * 0.5 * (1 + math.cos(math.pi * iteration / t_max)), least)
        elif iteration == t_max:
            rate = least
        found.append(rate)
    return found


@pytest.mark.parametrize(("t_max", "held"), [(12, 4), (10, 3), (7, 1), (3, 9)])
def test_it_is_the_loop_s(t_max: int, held: int) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 3e-2}], lr=0.3)
    schedule = CosineStepLR(optimizer, t_max, step_size=held, eta_min=0.01)
    found = []
    for iteration in range(15):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
        if iteration == 5:  # a new one goes on from its state
            state, schedule = schedule.state_dict(), CosineStepLR(optimizer, t_max, step_size=held, eta_min=0.01)
            schedule.load_state_dict(state)
            for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
                group["lr"] = rate
    wanted = zip(by_loop(0.3, 15, t_max, held, 0.01), by_loop(0.03, 15, t_max, held, 0.01), strict=True)
    assert found == [pytest.approx(rates) for rates in wanted]


def test_what_it_refuses() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
        CosineStepLR(optimizer, 0)
