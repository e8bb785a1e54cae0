"""BatchNorm over the batches of all processes, on any device.

Ioffe and Szegedy, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift*, ICML
2015: its statistics are the batch's, so that a batch that is dealt out to processes gives others. PyTorch joins them on
CUDA only.
"""

from __future__ import annotations

import torch
from torch import nn

from dygait import distributed


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What BatchNorm1d, 2d or 3d gives for the batch of all processes together, for this process's share of it."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # any number of dimensions
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, ...) for the same; in training every process must call, N may differ."""
        if not self.training:
            return super().forward(x)
        values = x if x.dtype == torch.float64 else x.float()
        dims = [d for d in range(x.dim()) if d != 1]
        variance, mean = torch.var_mean(values, dims, correction=0)
        count = values.new_tensor([values.numel() // values.shape[1]])
        everyone = distributed.gather_unlike(torch.cat([mean, variance, count]))
        counts = everyone[:, -1:]
        means, variances = everyone[:, :-1].chunk(2, 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        self._count(mean, variance * total / (total - 1).clamp(min=1))
        factor = (variance + self.eps).rsqrt()
        shape = [1, -1] + [1] * (x.dim() - 2)
        normed = (values - mean.view(shape)) * (factor if self.weight is None else factor * self.weight).view(shape)
        return (normed if self.bias is None else normed + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _count(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Let a batch's statistics into the running ones."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronise_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose BatchNorms share their statistics between processes; weights keep their names.

    Args:
        network: changed in place.
        device: where it computes; on CUDA the norm is PyTorch's own.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in list(network.modules()):
        for name, norm in module.named_children():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, _synchronised(norm))
    return network


def _synchronised(norm: nn.modules.batchnorm._BatchNorm) -> SyncBatchNorm:
    made = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    return made.train(norm.training)
