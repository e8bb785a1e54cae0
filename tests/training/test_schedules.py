"""CosineStepLR against a loop over learning rates like that of OpenGait's SwinGait."""

import math

import pytest
import torch

from dygait.training.schedules import CosineStepLR


def reference_rates(rate: float, iterations: int, t_max: int, step_size: int, minimum: float) -> list[float]:
    rates, initial = [], rate
    for iteration in range(iterations):
        if iteration < t_max and iteration % step_size == 0:
            rate = max(initial * 0.5 * (1 + math.cos(math.pi * iteration / t_max)), minimum)
        elif iteration == t_max:
            rate = minimum
        rates.append(rate)
    return rates


@pytest.mark.parametrize(("t_max", "step_size"), [(12, 4), (10, 3), (7, 1), (3, 9)])
def test_equals_the_loop(t_max: int, step_size: int) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 3e-2}], lr=0.3)
    schedule = CosineStepLR(optimizer, t_max, step_size=step_size, eta_min=0.01)
    actual = []
    for iteration in range(15):
        actual.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
        if iteration == 5:  # a new scheduler continues from its state
            state, schedule = schedule.state_dict(), CosineStepLR(optimizer, t_max, step_size=step_size, eta_min=0.01)
            schedule.load_state_dict(state)
            for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
                group["lr"] = rate
    expected = (reference_rates(rate, 15, t_max, step_size, 0.01) for rate in (0.3, 0.03))
    assert actual == [pytest.approx(rates) for rates in zip(*expected, strict=True)]


def test_invalid_sizes() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
        CosineStepLR(optimizer, 0)
