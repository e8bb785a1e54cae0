"""Backbones: from silhouettes to feature maps."""
