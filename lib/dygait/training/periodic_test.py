"""Testing the network during training, at every checkpoint."""

from __future__ import annotations

from dygait.errors import Interrupted
from dygait.runs.signals import Interruption, name_of
from dygait.testing.scoring import extract_and_score
from dygait.training.setup import TrainingRun


def run_test(run: TrainingRun, interruption: Interruption) -> None:
    """Test the network that was just saved, and log the results.

    Raises:
        Interrupted: a signal arrived before all sequences were embedded; finished embeddings are kept.
    """
    assert run.test_source is not None
    trainer, config, iteration = run.trainer, run.trainer.config, run.trainer.iteration
    try:
        results = extract_and_score(
            config, run.data, run.test_source, trainer.tested_network, trainer.device, run.folder, iteration,
            interruption,
        )  # fmt: skip
    except Interrupted as progress:
        raise Interrupted(
            f"{name_of(interruption.signal)}: saved iteration {iteration} of {config.trainer_cfg.total_iter}; "
            f"of its test, {progress}; continue with --resume"
        ) from None
    for result in results:
        run.metrics.tensorboard.results(iteration, result.percentages, result.protocol)
