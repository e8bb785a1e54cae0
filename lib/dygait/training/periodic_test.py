"""The test of the network during training, at every checkpoint."""

from __future__ import annotations

import torch

from dygait.config import Config
from dygait.errors import Interrupted
from dygait.runs import sources
from dygait.runs.folder import RunFolder
from dygait.runs.metrics import MetricsLogger
from dygait.runs.signals import Interruption, name_of
from dygait.testing.scoring import check_protocol, extract_and_score
from dygait.training.trainer import Trainer


class PeriodicTest:
    """Tests the network of a training run; the test set is opened once.

    Raises:
        UserError: there is no test set, or the protocol gives no result on it.
    """

    def __init__(
        self, config: Config, data: sources.Data, device: torch.device, folder: RunFolder, interruption: Interruption
    ) -> None:
        self.config, self.data, self.device = config, data, device
        self.folder, self.interruption = folder, interruption
        self.source = sources.build_test_source(config, data, device)
        check_protocol(config, data, self.source)

    def run(self, trainer: Trainer, metrics: MetricsLogger) -> None:
        """Test the network that was just saved, and log the results.

        Raises:
            Interrupted: a signal came before all sequences were embedded; those that were are kept.
        """
        iteration = trainer.iteration
        try:
            result = extract_and_score(
                self.config, self.data, self.source, trainer.tested_network, self.device, self.folder, iteration,
                self.interruption,
            )  # fmt: skip
        except Interrupted as progress:
            raise Interrupted(
                f"{name_of(self.interruption.signal)}: saved iteration {iteration} of "
                f"{self.config.trainer_cfg.total_iter}; of its test, {progress}; continue with --resume"
            ) from None
        if result is not None:
            metrics.tensorboard.results(iteration, result.percentages, result.protocol)
