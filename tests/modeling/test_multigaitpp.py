"""MultiGait++'s separation of two maps in half precision."""

import torch

from dygait.modeling.models.multigaitpp import CSquare


def test_maps_are_separated_in_float32_under_autocast() -> None:
    """Equal to float32 on the same maps, nearly equal pixels included, whose gradients rounding would multiply."""
    torch.manual_seed(0)
    separate = CSquare(32)
    maps = [(1 + 0.01 * torch.randn(4, 32, 8, 6)).bfloat16().requires_grad_() for _ in range(2)]
    results = []
    for half in (False, True):
        inputs = [x if half else x.float() for x in maps]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            separated = separate(*inputs)
        gradients = torch.autograd.grad(sum(x.square().sum() for x in separated), [*maps, *separate.parameters()])
        results.append([*separated, *gradients])
    for actual, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(actual, expected)
