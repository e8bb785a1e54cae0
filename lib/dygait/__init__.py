"""DyGait: gait recognition from silhouette sequences; the paper's model in a framework of OpenGait's form.

The public face. Everything here is imported when it is first used, so that `import dygait` costs nothing:

* `build_model(model_cfg, dataset_name=None)`: a `model_cfg` mapping to a `torch.nn.Module`.
* `load_weights(model, path)`: a checkpoint's weights into a model, with a report; also by name, those that ship.
* `load_pretrained(name)`: weights that ship with the package, or of a run, ready for inference.
* `embed(model, sequences)`: sequences of normalised silhouettes to features, prepared as the weights want.
* `Gallery.open(path)`: people by name: `enroll`, `identify`, `forget`.
* `load_exported(path)`: what `dygait export` wrote, for `embed`.
* `build_loss(loss_cfg)`: a loss: `loss, info = build_loss({...})(embeddings, labels)`.
* `evaluate(features, ids, types, views, protocol, metric, probes)`: percentages under a named protocol.
* `normalise_silhouette(image, height)`: a raw mask to the field's normalised silhouette.
* `GaitOutput`, `UserError`: what models return, and what bad input raises.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dygait.deployment import embed, load_exported, load_pretrained
    from dygait.errors import UserError
    from dygait.evaluation.evaluate import evaluate
    from dygait.frames.normalisation import normalise_silhouette
    from dygait.identification import Gallery
    from dygait.losses import build_loss
    from dygait.modeling import GaitOutput, build_model
    from dygait.runs.checkpoint_files import load_weights

_HOMES = {
    "GaitOutput": "dygait.modeling",
    "Gallery": "dygait.identification",
    "UserError": "dygait.errors",
    "build_loss": "dygait.losses",
    "build_model": "dygait.modeling",
    "embed": "dygait.deployment",
    "evaluate": "dygait.evaluation",
    "load_exported": "dygait.deployment",
    "load_pretrained": "dygait.deployment",
    "load_weights": "dygait.runs.checkpoint_files",
    "normalise_silhouette": "dygait.frames.normalisation",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dygait' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
