"""Networks: from silhouettes to embeddings, logits and the features that are compared in a test."""

from dygait.modeling.build import build_model, complete_model_cfg, lacks_class_num
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS
