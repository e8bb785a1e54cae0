"""Keys that other tools' files carry and this one does without, or spells otherwise: a warning each, not an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]

# Keys that mean nothing here.
WITHOUT_EFFECT: dict[Path, str] = {
    ("trainer_cfg", "enable_distributed"): "the launcher decides",
    ("evaluator_cfg", "enable_distributed"): "the launcher decides",
    ("evaluator_cfg", "sampler", "batch_shuffle"): "every sequence is tested once, and the order changes no result",
}

# Keywords that a component accepts and does not use, by its `type`; they are left where they are.
IDLE_KEYWORDS: dict[tuple[str, str], str] = {
    ("RandomAffine", "degree"): "nothing reads it, as in OpenGait; RandomRotate turns",
}

# Keywords of OpenGait's files that its own code drops, by `type` or `solver`; they are taken out.
DROPPED_KEYWORDS: dict[tuple[str, str], str] = {
    ("BaseSilCuttingTransform", "img_w"): "the cut goes by the width that the frames have; `cutting` sets it",
    **{(name, "momentum"): "it is SGD's" for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")},
}

# Keys and keywords that OpenGait spells otherwise.
RENAMED_KEYS: dict[Path, str] = {("evaluator_cfg", "rerank"): "re_rank"}
RENAMED_KEYWORDS: dict[tuple[str, str], str] = {
    (name, "divsor"): "divisor" for name in ("BaseSilTransform", "BaseSilCuttingTransform")
}

_NAMES = ("type", "solver")


def translate(node: Any, path: Path = ()) -> tuple[Any, list[tuple[Path, str]]]:
    """Return a configuration in our keys, and what is to be said about it: a key's path, and a sentence's rest."""
    said: list[tuple[Path, str]] = []

    def inside(value: Any, key: str) -> Any:
        translated, more = translate(value, (*path, key))
        said.extend(more)
        return translated

    if isinstance(node, list):
        return [inside(value, str(place)) for place, value in enumerate(node)], said
    if not isinstance(node, Mapping):
        return node, said
    name = next((str(node[key]) for key in _NAMES if key in node), "")
    found = {}
    for key, value in node.items():
        where, own = (*path, str(key)), (name, str(key))
        if where in WITHOUT_EFFECT:
            said.append((where, f"has no effect here: {WITHOUT_EFFECT[where]}"))
        elif own in DROPPED_KEYWORDS:
            said.append((where, f"has no effect with {name}: {DROPPED_KEYWORDS[own]}"))
        elif (ours := RENAMED_KEYS.get(where, RENAMED_KEYWORDS.get(own))) is not None and ours not in node:
            said.append((where, f"is read as `{ours}`"))
            found[ours] = value
        else:
            if own in IDLE_KEYWORDS:
                said.append((where, f"has no effect: {IDLE_KEYWORDS[own]}"))
            found[key] = inside(value, str(key))
    return found, said


def foreign_keys() -> Iterator[tuple[str, str]]:
    """Yield, for the reference, each key or keyword with its component, and what becomes of it."""
    for path, reason in WITHOUT_EFFECT.items():
        yield f"`{'.'.join(path)}`", reason
    for path, ours in RENAMED_KEYS.items():
        yield f"`{'.'.join(path)}`", f"read as `{ours}`"
    for (name, key), reason in {**IDLE_KEYWORDS, **DROPPED_KEYWORDS}.items():
        yield f"`{key}` of `{name}`", reason
    for (name, key), ours in RENAMED_KEYWORDS.items():
        yield f"`{key}` of `{name}`", f"read as `{ours}`"
