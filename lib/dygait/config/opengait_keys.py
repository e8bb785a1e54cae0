"""Keys of OpenGait's files that have no effect or another name here; they cause warnings, not errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Path = tuple[str, ...]

# Keys without effect.
WITHOUT_EFFECT: dict[Path, str] = {
    ("trainer_cfg", "enable_distributed"): "the launcher decides",
    ("trainer_cfg", "fix_layers"): "nothing reads it, as in OpenGait; `freeze` names weights that are not trained",
    ("evaluator_cfg", "enable_distributed"): "the launcher decides",
    ("evaluator_cfg", "sampler", "batch_shuffle"): "every sequence is tested once, and the order changes no result",
}

# Keywords that a component accepts but ignores, by its `type`; they are kept.
IDLE_KEYWORDS: dict[tuple[str, str], str] = {
    ("RandomAffine", "degree"): "nothing reads it, as in OpenGait; RandomRotate turns",
}

# Keywords that OpenGait's own code ignores, by `type` or `solver`; they are removed.
DROPPED_KEYWORDS: dict[tuple[str, str], str] = {
    ("BaseSilCuttingTransform", "img_w"): "the cut goes by the width that the frames have; `cutting` sets it",
    **{(name, "loss_term_weights"): "the key is loss_term_weight" for name in ("TripletLoss", "CrossEntropyLoss")},
    **{(name, "momentum"): "it is SGD's" for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")},
}

# Keys and keywords that have another name here.
RENAMED_KEYS: dict[Path, str] = {("evaluator_cfg", "rerank"): "re_rank"}
RENAMED_KEYWORDS: dict[tuple[str, str], str] = {
    (name, "divsor"): "divisor" for name in ("BaseSilTransform", "BaseSilCuttingTransform")
}

_NAMES = ("type", "solver")

# SwinGait's parameter groups: weights of the transformer without weight decay, and others with a tenth of the rate.
_SWINGAIT_WITHOUT_DECAY = ("transformer.patch_*", "transformer.*norm*", "transformer.*relative_position_bias_table")
_SWINGAIT_SLOW = ("layer*", "fcs.*", "necks.*")


def translate(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Translate the keys of a configuration; return it, and warnings, each the path of a key and a message."""
    translated, warnings = _translate(content)
    model, optimizer, trainer = (translated.get(f"{name}_cfg") for name in ("model", "optimizer", "trainer"))
    sections = all(isinstance(section, Mapping) for section in (model, optimizer, trainer))
    if sections and model.get("model") == "SwinGait" and "T_max_iter" in trainer:
        warnings.append((("trainer_cfg", "T_max_iter"), "is read as scheduler_cfg and optimizer_cfg.param_groups"))
        translated |= _swingait_recipe(optimizer, trainer)
    return translated, warnings


def _swingait_recipe(optimizer: Mapping[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that correspond to OpenGait's code for SwinGait, which reads `T_max_iter`."""
    rate = optimizer.get("lr")
    groups: list[dict[str, Any]] = [{"match": pattern, "weight_decay": 0.0} for pattern in _SWINGAIT_WITHOUT_DECAY]
    if isinstance(rate, (int, float)):  # else the schema reports it
        groups += [{"match": pattern, "lr": 0.1 * rate} for pattern in _SWINGAIT_SLOW]
    return {
        "optimizer_cfg": {"param_groups": groups, **optimizer},
        "scheduler_cfg": {
            "scheduler": "CosineStepLR", "T_max": trainer["T_max_iter"], "step_size": 1000, "eta_min": 1e-6
        },
        "trainer_cfg": {key: value for key, value in trainer.items() if key != "T_max_iter"},
    }  # fmt: skip


def _translate(node: Any, path: Path = ()) -> tuple[Any, list[tuple[Path, str]]]:
    warnings: list[tuple[Path, str]] = []

    def translated_value(value: Any, key: str) -> Any:
        result, value_warnings = _translate(value, (*path, key))
        warnings.extend(value_warnings)
        return result

    if isinstance(node, list):
        return [translated_value(value, str(index)) for index, value in enumerate(node)], warnings
    if not isinstance(node, Mapping):
        return node, warnings
    name = next((str(node[key]) for key in _NAMES if key in node), "")
    result = {}
    for key, value in node.items():
        key_path, keyword = (*path, str(key)), (name, str(key))
        if key_path in WITHOUT_EFFECT:
            warnings.append((key_path, f"has no effect here: {WITHOUT_EFFECT[key_path]}"))
        elif keyword in DROPPED_KEYWORDS:
            warnings.append((key_path, f"has no effect with {name}: {DROPPED_KEYWORDS[keyword]}"))
        elif (ours := RENAMED_KEYS.get(key_path, RENAMED_KEYWORDS.get(keyword))) is not None and ours not in node:
            warnings.append((key_path, f"is read as `{ours}`"))
            result[ours] = value
        else:
            if keyword in IDLE_KEYWORDS:
                warnings.append((key_path, f"has no effect: {IDLE_KEYWORDS[keyword]}"))
            result[key] = translated_value(value, str(key))
    return result, warnings
