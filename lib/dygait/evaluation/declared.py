"""Protocols that a user declares, in YAML or as a mapping: `evaluator_cfg.protocol`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dygait.config.schema import GroupCfg, ProtocolCfg, SelectorCfg
from dygait.errors import UserError
from dygait.evaluation.protocols import PROTOCOLS, SUBMISSIONS, ProbeGroup, Protocol, Selector
from dygait.registry import nested_keys, validation_problems


def declared_protocol(declaration: Mapping[str, Any] | ProtocolCfg, where: str = "protocol") -> Protocol:
    """Return the protocol that a mapping declares.

    Args:
        declaration: the keys of `evaluator_cfg.protocol`.
        where: what messages call the mapping: a key, or a file.

    Raises:
        UserError: every key that is unknown, missing or wrong, by its path.
    """
    if not isinstance(declaration, ProtocolCfg):
        try:
            declaration = ProtocolCfg.model_validate(declaration)
        except ValidationError as error:
            problems = validation_problems(error, lambda path: nested_keys(ProtocolCfg, path))
            lines = dict.fromkeys(f"{where}: {'.'.join((*p.path, ''))[:-1] or 'it'}: {p.message}" for p in problems)
            raise UserError("\n  ".join(lines)) from None
    for problem in name_problems(declaration.name):
        raise UserError(f"{where}: name: {problem}")
    return Protocol(
        name=declaration.name,
        words=declaration.words or _words(declaration),
        gallery=_selector(declaration.gallery),
        groups=tuple(_group(name, group) for name, group in declaration.groups.items()),
        one_view_at_a_time=declaration.one_view_at_a_time,
        exclusion=declaration.exclusion,
        view_until=declaration.view_until,
        measures=tuple(declaration.measures),
    )


def name_problems(name: str) -> list[str]:
    """Return what is wrong with the name of a user's protocol, beside its form."""
    if name in PROTOCOLS or name in SUBMISSIONS:
        return [f"{name!r} is a built-in protocol; choose another name, so that numbers are not confused"]
    return []


def _selector(chosen: SelectorCfg) -> Selector:
    return Selector(
        types=tuple(chosen.types),
        ids=tuple(chosen.ids),
        views=tuple(chosen.views),
        not_ids=tuple(chosen.not_ids),
        listed=chosen.listed,
    )


def _group(name: str, group: GroupCfg) -> ProbeGroup:
    gallery = None if group.gallery is None else _selector(group.gallery)
    return ProbeGroup(name, _selector(group.probes), gallery, group.unmatched)


def _words(declared: ProtocolCfg) -> str:
    """Say what is declared, so that whoever reads a result knows what was compared."""
    probes = []
    for name, group in declared.groups.items():
        own = "" if group.gallery is None else f" in the gallery {_selector(group.gallery).words}"
        wrong = "" if group.unmatched == "left out" else " (without a match counted as wrong)"
        probes.append(f"{name} {_selector(group.probes).words}{own}{wrong}")
    parts = [f"gallery {_selector(declared.gallery).words}", f"probes {' / '.join(probes)}"]
    parts.append("one view at a time" if declared.one_view_at_a_time else "whole gallery")
    if declared.exclusion != "nothing":
        parts.append(f"{declared.exclusion} excluded")
    if declared.view_until is not None:
        parts.append(f"views told apart up to {declared.view_until!r}")
    return "; ".join(parts)
