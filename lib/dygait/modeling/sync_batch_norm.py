"""BatchNorm with statistics synchronised over all processes, on any device; PyTorch's works on CUDA only.

Ioffe and Szegedy, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift*, ICML
2015.
"""

from __future__ import annotations

import torch
from torch import nn

from dygait import distributed
from dygait.modeling.kernels import batch_norm


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm1d, 2d or 3d with the statistics of the batch of all processes."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # any number of dimensions
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, ...) for the same; in training every process must call it, and N may differ."""
        if not self.training:
            return super().forward(x)
        mean, variance = batch_norm.statistics(x)
        count = mean.new_full((1,), x.numel() // x.shape[1])
        parts = distributed.gather(torch.cat([count, mean, variance])[None])  # (world, 1 + 2 C)
        counts, means, variances = parts.split([1, self.num_features, self.num_features], 1)
        mean, variance = batch_norm.combine_statistics(counts, means, variances)
        total, momentum = counts.sum(), batch_norm.count_batch(self)
        batch_norm.update_running(self.running_mean, self.running_var, mean, variance, total, momentum)
        return batch_norm.normalise(
            x, mean, variance, self.weight, self.bias, total, self.eps, distributed.sum_over_processes
        )


def synchronise_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """Synchronise the BatchNorms of a network in place; on CUDA they become PyTorch's, and weights keep their names."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = SyncBatchNorm  # which has the same attributes
    return network
