"""DyGait: gait recognition from silhouette sequences; the paper's model in a framework like OpenGait's.

The public interface. Everything is imported when it is first used, so that `import dygait` is fast:

* `build_model(model_cfg, dataset_name=None)`: build a `torch.nn.Module` from a `model_cfg` mapping.
* `load_weights(model, path)`: load a checkpoint, or shipped weights by name, into a model; returns a report.
* `load_pretrained(name)`: the model of weights that ship with the package, or of a run, ready for inference.
* `embed(model, sequences)`: the features of sequences of normalised silhouettes, cut and resized for the model.
* `Gallery.open(path)`: a gallery of enrolled people: `enroll`, `identify`, `forget`.
* `load_exported(path)`: load a file written by `dygait export`, for `embed`.
* `build_loss(loss_cfg)`: build a loss: `loss, info = build_loss({...})(embeddings, labels)`.
* `evaluate(features, ids, types, views, protocol, metric, probes)`: percentages under a named protocol.
* `normalise_silhouette(image, height)`: normalise a raw mask as the common gait datasets do.
* `GaitOutput`, `UserError`: the output of models, and the error of bad input.

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

_MODULE_OF = {
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

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'dygait' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
