"""`dygait profile`: the cost of a training step, counted and measured, and the largest batch that fits."""
