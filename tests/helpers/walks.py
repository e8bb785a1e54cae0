"""Small batches of silhouettes, and what every network must do with them, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dygait.modeling import GaitOutput

HEIGHT, WIDTH = 16, 12


def silhouettes(n: int, s: int, seed: int = 0) -> torch.Tensor:
    """N sequences of S frames, 0 or 1."""
    return (torch.rand((n, s, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(seed)) > 0.5).float()


def with_statistics(network: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """A network whose BatchNorms have seen something, in evaluation mode."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def check_alone_as_in_a_padded_batch(
    network: nn.Module, lengths: Sequence[int], fields: Sequence[str] = GaitOutput._fields
) -> None:
    """What a network gives of a sequence, all or some of it, is the same alone and beside longer ones."""
    walks = [silhouettes(1, length, seed=length) for length in lengths]
    batch = torch.rand(len(lengths), max(lengths) + 1, HEIGHT, WIDTH)  # what lies in padding is ignored, whatever it is
    for row, one in zip(batch, walks, strict=True):
        row[: one.shape[1]] = one[0]
    with torch.no_grad():
        together = network(batch, torch.tensor(lengths))
        for n, one in enumerate(walks):
            alone = network(one)
            for key in fields:
                of_batch, of_one = getattr(together, key)[n], getattr(alone, key)[0]
                assert of_one.abs().max() > 1e-3
                torch.testing.assert_close(of_batch, of_one, atol=1e-5, rtol=0, msg=f"{key} of {lengths[n]} frames")


def check_padding_in_training(made: Sequence[nn.Module], lengths: Sequence[int], frames: Sequence[int]) -> None:
    """Embeddings, gradients and statistics do not depend on how many frames a batch is padded to.

    Args:
        made: the same network again and again, in training mode.
        lengths: of three sequences, the longest of `frames[0]`.
        frames: what each network's batch is padded to.
    """
    results = []
    for network, padded in zip(made, frames, strict=True):
        batch = torch.zeros(3, padded, HEIGHT, WIDTH)
        batch[:, : frames[0]] = silhouettes(3, frames[0])
        output = network(batch, torch.tensor(lengths))
        loss = output.embeddings.square().mean()
        (loss if output.logits is None else loss + output.logits.square().mean()).backward()
        gradients = {f"gradient of {k}": p.grad for k, p in network.named_parameters()}
        assert all(g is not None and g.any() and torch.isfinite(g).all() for g in gradients.values())
        results.append({"embeddings": output.embeddings, **gradients, **dict(network.named_buffers())})
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, atol=1e-5, rtol=1e-4, msg=key)
