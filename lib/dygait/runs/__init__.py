"""A run's folder: checkpoints, events, logs, signals; and what a run needs to begin."""
