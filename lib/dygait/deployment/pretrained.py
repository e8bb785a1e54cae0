"""Weights ready for inference: those that ship with the package, and those of one's own runs."""

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
    """What weights are, and how their input is prepared; plain values, which JSON can hold.

    Attributes:
        name: the name by which they ship, or their path.
        identity: SHA-256 of all that features depend on: weights, network and transform. Features of one identity can
            be compared with each other, and with no others.
        model_cfg: the network, as a configuration describes it.
        transform: of normalised silhouettes, as `evaluator_cfg.transform` describes it.
        frames_step, frames_window: which frames are embedded, as `evaluator_cfg.sampler` says.
        feature: which output of the network is compared, as `evaluator_cfg.feature` says.
        input_size: [H, W] after the transform; None where the weights do not say.
        frame_rate: frames a second of the sequences that they were trained on; None where the weights do not say.
        training: where they come from: `config`, the whole configuration; `seed`, `iteration`, `version` of DyGait,
            `averaged` and, of published weights, `commit`, `data`, `whitened` and `sha256`.
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
    """A network with its trained weights, in evaluation mode, that knows how its input is prepared.

    Attributes:
        network: the network.
        info: what the weights are.
        transform: of normalised silhouettes, or frames of several channels, as in the loader.
    """

    def __init__(self, network: nn.Module, info: WeightsInfo) -> None:
        super().__init__()
        self.network = network
        self.info = info
        self.transform: Transform = build_transform(info.transform)
        self.eval()

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings and inference features (N, C, P), and no logits, for frames as of `dygait.build_model`."""
        output: GaitOutput = self.network(silhouettes, lengths)
        return output._replace(logits=None, inference=getattr(output, self.info.feature))

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return what is compared, (N, C, P), for frames as of `dygait.build_model`; on the network's device.

        Raises:
            UserError: they have another number of channels than the network takes.
        """
        takes, given = getattr(self.network, "in_channels", 1), 1 if silhouettes.dim() == 4 else silhouettes.shape[2]
        if takes != given:
            raise UserError(f"the weights {self.info.name} take frames of {takes} channels, got {given}")
        device = next(self.parameters()).device
        return self(silhouettes.to(device), lengths).inference


def load_pretrained(name: str | Path = "syngait") -> PretrainedModel:
    """Load weights for inference.

    Args:
        name: the name of weights that ship with the package, or the path of a file that `scripts/publish_weights.py`
            wrote, of a checkpoint of DyGait, or of a run's folder, whose newest checkpoint is loaded. Averaged weights
            (`trainer_cfg.ema`) are preferred.

    Returns:
        The model on the CPU, in evaluation mode, with what `dygait.embed` needs to prepare sequences for it.

    Raises:
        UserError: there are no such weights, they are damaged, or do not say which network they belong to.
    """
    path = find_weights(name)
    state = read_checkpoint(path)
    settings, transform = _described(state, path)
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
    """Return the file of weights that a name, a path, or the path of a run's folder means; UserError if there is none.

    Of a run's folder it is the newest checkpoint that is undamaged.
    """
    folder = Path(source)
    if str(source) in published.names() or not folder.is_dir():
        return published.locate(source)
    newest = newest_checkpoint(folder / "checkpoints", folder.resolve().name)
    if newest is None:
        raise UserError(f"{folder} is no folder of a run: there is no {folder.name}-*.pt in {folder / 'checkpoints'}")
    return newest


def _described(state: Mapping[str, Any], path: Path, class_num: int = 1) -> tuple[dict[str, Any], Any]:
    """Return `model_cfg` of the network that a file's weights belong to, and the transform of its input.

    One class is enough, as the inference feature does not depend on the class head.
    """
    config = state.get("config")
    model_cfg, transform = at(config, "model_cfg"), at(config, "evaluator_cfg", "transform")
    if not isinstance(model_cfg, Mapping) or transform is None:
        raise UserError(
            f"{path} does not say which network and which transform its weights belong to, as checkpoints of DyGait "
            f"do; load them by dygait.load_weights into a network of dygait.build_model"
        )
    return _for_inference(model_cfg, at(config, "data_cfg", "dataset_name"), class_num), transform


def _for_inference(model_cfg: Mapping[str, Any], dataset_name: str | None, class_num: int) -> dict[str, Any]:
    """Return `model_cfg` with a class head of so many classes, where there is one."""
    settings = complete_model_cfg({k: v for k, v in model_cfg.items() if v is not None}, dataset_name, class_num)
    model = settings.get("model")
    if model not in MODELS or not getattr(MODELS.get(str(model)), "class_head", ()):
        return settings
    if "class_num" in settings:
        settings["class_num"] = class_num
    if isinstance(necks := settings.get("SeparateBNNecks"), Mapping) and "class_num" in necks:
        settings["SeparateBNNecks"] = {**necks, "class_num": class_num}
    return settings


def _classes(state: Mapping[str, Any], path: Path) -> int:
    """Return the number of classes of weights, the last size of their class head; UserError without one."""
    model, weights = str(at(state.get("config"), "model_cfg", "model")), weights_of(state)
    heads = getattr(MODELS.get(model), "class_head", ()) if model in MODELS else ()
    for name in heads:
        if name in weights:
            return weights[name].shape[-1]
    raise UserError(f"evaluator_cfg.feature: the weights {path} have no class head, so that logits cannot be compared")


def _info(
    name: str, state: Mapping[str, Any], settings: dict[str, Any], transform: Any, class_head: tuple[str, ...]
) -> WeightsInfo:
    compared_as = _compared(state)
    compared = {n: tensor for n, tensor in weights_of(state).items() if n not in class_head}
    depends_on = [published.fingerprint(compared), settings, transform]
    depends_on += [compared_as] if compared_as else []
    kept = ("config", "seed", "iteration", "version", "commit", "data", "averaged", "whitened", "sha256")
    return WeightsInfo(
        name=name,
        identity=hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest(),
        model_cfg=settings,
        transform=transform,
        input_size=state.get("input_size") or settings.get("input_size"),
        frame_rate=state.get("frame_rate"),
        training={"averaged": state.get("ema") is not None, **{key: state[key] for key in kept if key in state}},
        **compared_as,
    )


def _compared(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the weights want to be compared, as keys of `WeightsInfo`, where it is not the usual way."""
    evaluator = at(state.get("config"), "evaluator_cfg") or {}
    wanted = {**(evaluator.get("sampler") or {}), "feature": evaluator.get("feature")}
    usual = {"frames_step": 1, "frames_window": None, "feature": None}
    found = {key: wanted[key] for key in usual if wanted.get(key) not in (usual[key], None)}
    if found.get("feature") == "logits":  # of the training ids: they are no feature of published weights
        del found["feature"]
    return found


def with_weights(config: Config, source: str | Path, kept: Collection[str] = ()) -> Config:
    """Return a configuration that tests weights: their network, transform, frames and name, the rest as it was.

    Args:
        config: of the dataset.
        source: as of `load_pretrained`.
        kept: keys of the configuration, such as `evaluator_cfg.sampler.frames_window`, that the user has set for these
            weights.

    Raises:
        UserError: as `load_pretrained`.
    """
    path = find_weights(source)
    state = read_checkpoint(path)
    class_num = _classes(state, path) if config.evaluator_cfg.feature == "logits" else 1
    settings, transform = _described(state, path, class_num)
    evaluator = config.evaluator_cfg.model_dump()
    compared_as = {"frames_step": 1, "frames_window": None, **_compared(state)}
    feature = compared_as.pop("feature", None)
    evaluator["feature"] = evaluator["feature"] or feature
    evaluator["sampler"] |= {k: value for k, value in compared_as.items() if f"evaluator_cfg.sampler.{k}" not in kept}
    evaluator |= {"transform": transform, "restore_hint": str(path), "save_name": Path(source).resolve().stem}
    try:
        return config.model_copy(
            update={
                "model_cfg": ModelCfg.model_validate(settings),
                "evaluator_cfg": EvaluatorCfg.model_validate(evaluator),
            }
        )
    except ValidationError as error:
        raise UserError(f"the configuration in {path} cannot be used: {error}") from None
