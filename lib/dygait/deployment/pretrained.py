"""Loading weights for inference: those that ship with the package, and those of the user's runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from dygait.config.schema import Config, EvaluatorCfg, ModelCfg
from dygait.data.transforms import Transform, build_transform
from dygait.errors import UserError
from dygait.modeling import MODELS, GaitOutput, build_model, complete_model_cfg
from dygait.runs import published
from dygait.runs.checkpoint_files import load_state, newest_checkpoint, read_checkpoint, weights_of
from dygait.untrusted import at


@dataclass(frozen=True)
class WeightsInfo:
    """Description of weights and of their input, in types that JSON can hold.

    Attributes:
        name: name of the weights that ship with the package, or path of the file.
        identity: SHA-256 of all that features depend on: weights, network and transform. Only features of the same
            identity can be compared.
        model_cfg: configuration of the network.
        transform: configuration of the transform of normalised silhouettes, as in `evaluator_cfg.transform`.
        frames_step, frames_window: selection of the frames that are embedded, as in `evaluator_cfg.sampler`.
        feature: the output of the network that is compared, as in `evaluator_cfg.feature`.
        input_size: [H, W] after the transform; None if unknown.
        frame_rate: frames per second of the training sequences; None if unknown.
        training: origin of the weights: `config`, the whole configuration; `seed`, `iteration`, `version` of DyGait,
            `averaged` and, for published weights, `commit`, `data`, `soup`, `whitened` and `sha256`.
    """

    name: str
    identity: str
    model_cfg: dict[str, Any]
    transform: Any
    input_size: list[int] | None
    frame_rate: float | None
    training: dict[str, Any]
    frames_step: int = 1
    frames_window: int | None = None
    feature: str = "inference"


class PretrainedModel(nn.Module):
    """A network with its trained weights, in evaluation mode, and the transform of its input.

    Attributes:
        network: the network.
        info: description of the weights.
        transform: transform of normalised silhouettes, or of frames of several channels.
    """

    def __init__(self, network: nn.Module, info: WeightsInfo) -> None:
        super().__init__()
        self.network = network
        self.info = info
        self.transform: Transform = build_transform(info.transform)
        self.eval()

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings and inference features (N, C, P), without logits, for frames as in `dygait.build_model`."""
        output: GaitOutput = self.network(silhouettes, lengths)
        return output._replace(logits=None, inference=getattr(output, self.info.feature))

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return inference features (N, C, P), on the network's device, for frames as in `dygait.build_model`.

        Raises:
            UserError: the network expects another number of channels.
        """
        expected = getattr(self.network, "in_channels", 1)
        channels = 1 if silhouettes.dim() == 4 else silhouettes.shape[2]
        if expected != channels:
            raise UserError(f"the weights {self.info.name} take frames of {expected} channels, got {channels}")
        device = next(self.parameters()).device
        return self(silhouettes.to(device), lengths).inference


def load_pretrained(name: str | Path = "syngait") -> PretrainedModel:
    """Load weights for inference.

    Args:
        name: the name of weights that ship with the package, or the path of a file of `scripts/publish_weights.py`, of
            a checkpoint of DyGait, or of a run's folder, whose newest checkpoint is loaded. Averaged weights
            (`trainer_cfg.ema`) are preferred. `NAME/MEMBER` is one member of an ensemble: `syngait/small`.

    Returns:
        The model on the CPU, in evaluation mode, ready for `dygait.embed`.

    Raises:
        UserError: there are no such weights, they are damaged, or the file does not hold their configuration.
    """
    path = find_weights(name)
    state = read_checkpoint(path)
    settings, transform = _inference_configuration(state, path)
    try:
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced
            network = build_model(settings)
        if getattr(network, "modalities", 1) != 1:
            raise UserError("its network takes several modalities, of which silhouettes are one")
        info = _info(str(name), state, settings, transform, getattr(network, "class_head", ()))
        model = PretrainedModel(network, info)
    except UserError as error:
        raise UserError(f"the configuration in {path} cannot be used: {error}") from None
    load_state(network, weights_of(state), str(path), reset_head=True)
    return model


def find_weights(source: str | Path) -> Path:
    """Return the file of weights for a name, a path, or the path of a run's folder; UserError if there is none.

    For a run's folder it is the newest undamaged checkpoint.
    """
    folder = Path(source)
    if str(source) in published.names() or not folder.is_dir():
        return published.locate(source)
    newest = newest_checkpoint(folder / "checkpoints", folder.resolve().name)
    if newest is None:
        raise UserError(f"{folder} is no folder of a run: there is no {folder.name}-*.pt in {folder / 'checkpoints'}")
    return newest


def _inference_configuration(state: Mapping[str, Any], path: Path, class_num: int = 1) -> tuple[dict[str, Any], Any]:
    """Return `model_cfg` of a checkpoint's network, with `class_num` classes, and the transform of its input.

    One class is enough if logits are not compared, as inference features do not depend on the class head.
    """
    config = state.get("config")
    model_cfg, transform = at(config, "model_cfg"), at(config, "evaluator_cfg", "transform")
    if not isinstance(model_cfg, Mapping) or transform is None:
        raise UserError(
            f"{path} does not say which network and which transform its weights belong to, as checkpoints of DyGait "
            f"do; load them by dygait.load_weights into a network of dygait.build_model"
        )
    return _with_class_num(model_cfg, at(config, "data_cfg", "dataset_name"), class_num), transform


def _with_class_num(model_cfg: Mapping[str, Any], dataset_name: str | None, class_num: int) -> dict[str, Any]:
    """Return `model_cfg` with a class head of `class_num` classes, if the network has a class head."""
    settings = complete_model_cfg({k: v for k, v in model_cfg.items() if v is not None}, dataset_name, class_num)
    model = settings.get("model")
    if model not in MODELS or not getattr(MODELS.get(str(model)), "class_head", ()):
        return settings
    if "class_num" in settings:
        settings["class_num"] = class_num
    if isinstance(necks := settings.get("SeparateBNNecks"), Mapping) and "class_num" in necks:
        settings["SeparateBNNecks"] = {**necks, "class_num": class_num}
    return settings


def _class_num(state: Mapping[str, Any], path: Path) -> int:
    """Return the number of classes of weights, the last size of their class head; UserError if they have none."""
    model, weights = str(at(state.get("config"), "model_cfg", "model")), weights_of(state)
    heads = getattr(MODELS.get(model), "class_head", ()) if model in MODELS else ()
    for name in heads:
        if name in weights:
            return weights[name].shape[-1]
    raise UserError(f"evaluator_cfg.feature: the weights {path} have no class head, so that logits cannot be compared")


def _info(
    name: str, state: Mapping[str, Any], settings: dict[str, Any], transform: Any, class_head: tuple[str, ...]
) -> WeightsInfo:
    comparison = _comparison(state)
    weights = {n: tensor for n, tensor in weights_of(state).items() if n not in class_head}
    dependencies = [published.fingerprint(weights), settings, transform]
    dependencies += [comparison] if comparison else []
    keys = ("config", "seed", "iteration", "version", "commit", "data", "averaged", "soup", "whitened", "sha256")
    return WeightsInfo(
        name=name,
        identity=hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest(),
        model_cfg=settings,
        transform=transform,
        input_size=state.get("input_size") or settings.get("input_size"),
        frame_rate=state.get("frame_rate"),
        training={"averaged": state.get("ema") is not None, **{key: state[key] for key in keys if key in state}},
        **comparison,
    )


def _comparison(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `WeightsInfo` that select frames and feature, as far as they differ from the defaults."""
    evaluator = at(state.get("config"), "evaluator_cfg") or {}
    settings = {**(evaluator.get("sampler") or {}), "feature": evaluator.get("feature")}
    defaults = {"frames_step": 1, "frames_window": None, "feature": None}
    result = {key: settings[key] for key in defaults if settings.get(key) not in (defaults[key], None)}
    if result.get("feature") == "logits":  # those of the training ids are no feature for inference
        del result["feature"]
    return result


def with_weights(config: Config, source: str | Path, kept: Collection[str] = ()) -> Config:
    """Return a configuration with the network, transform, frames and name of weights, to test them.

    Args:
        config: configuration of the dataset.
        source: the weights, as for `load_pretrained`.
        kept: keys of `config`, such as `evaluator_cfg.sampler.frames_window`, that the user has set and that have
            precedence.

    Raises:
        UserError: as in `load_pretrained`.
    """
    path = find_weights(source)
    state = read_checkpoint(path)
    class_num = _class_num(state, path) if config.evaluator_cfg.feature == "logits" else 1
    settings, transform = _inference_configuration(state, path, class_num)
    evaluator = config.evaluator_cfg.model_dump()
    comparison = {"frames_step": 1, "frames_window": None, **_comparison(state)}
    feature = comparison.pop("feature", None)
    evaluator["feature"] = evaluator["feature"] or feature
    evaluator["sampler"] |= {k: value for k, value in comparison.items() if f"evaluator_cfg.sampler.{k}" not in kept}
    name = f"{path.parent.stem}_{path.name}" if published.is_member(path) else Path(source).resolve().stem
    evaluator |= {"transform": transform, "restore_hint": str(path), "save_name": name}
    try:
        return config.model_copy(
            update={
                "model_cfg": ModelCfg.model_validate(settings),
                "evaluator_cfg": EvaluatorCfg.model_validate(evaluator),
            }
        )
    except ValidationError as error:
        raise UserError(f"the configuration in {path} cannot be used: {error}") from None
