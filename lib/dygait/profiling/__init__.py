"""`dygait profile`: what a training step costs, counted and measured, and how large a batch fits."""
