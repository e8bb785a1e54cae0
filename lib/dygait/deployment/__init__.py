"""Deployment of trained weights: loading for inference, embedding of sequences, export to other runtimes."""

from dygait.deployment.embedding import EmbeddingModel, embed
from dygait.deployment.exported import ExportedModel, load_exported
from dygait.deployment.pretrained import PretrainedModel, WeightsInfo, load_pretrained, with_weights
