"""Networks: from silhouettes to embeddings, logits and what is compared at test time."""

from dygait.modeling.build import build_model, complete_model_cfg, lacks_class_num
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS
