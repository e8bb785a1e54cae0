"""From a checkpoint to features, and from features to results."""
