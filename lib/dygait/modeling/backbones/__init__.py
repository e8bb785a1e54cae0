"""Backbones: from silhouettes to a map of features per frame."""
