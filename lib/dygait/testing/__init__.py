"""Tests of a checkpoint: extraction of features, and their scoring."""
