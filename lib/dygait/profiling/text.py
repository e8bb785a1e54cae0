"""A profile as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from dygait.profiling.phases import PHASES

_MAX_ROWS = 12
"""The largest number of rows of a table."""


def amount(value: float | None, unit: str = "") -> str:
    """Format a number with an SI prefix: 2.07 G."""
    if value is None:
        return "-"
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def percent(value: float | None) -> str:
    """Format a share as a percentage."""
    return "-" if value is None else f"{100 * value:.0f} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format the first rows of a table; the first column is aligned left, the others right."""
    sides = ("left", *["right"] * (len(head) - 1))
    text = tabulate([head, *rows[:_MAX_ROWS]], tablefmt="plain", colalign=sides, disable_numparse=True)
    return text if len(rows) <= _MAX_ROWS else f"{text}\n({len(rows) - _MAX_ROWS} more rows in the JSON)"


def to_text(profile: Mapping[str, Any]) -> str:
    """Format a profile for printing."""
    config, seconds, peak = profile["config"], profile["seconds"], profile["peak"]
    subjects, per_subject = config["batch"]
    half = ", half precision" if config["half_precision"] else ""
    counts, count = profile["multiply_adds"], profile["parameters"]
    forward, step = counts["forward_of_a_sequence"], counts["step"]
    memory = "unknown" if profile["peak_bytes"] is None else f"{profile['peak_bytes'] / 2**30:.2f} GiB"
    rates = ", ".join(f"{amount(rate, 'MAC/s')} in {name}" for name, rate in peak["multiply_adds_per_second"].items())
    lines = [
        f"{config['model']}, batch {subjects} x {per_subject}, {config['frames']} frames{half}; "
        f"{profile['device']}, {profile['threads']} threads",
        f"data: {profile['data']['origin']}",
        f"parameters: {amount(count['all'])}, without the class head {amount(count['without_class_head'])}",
        f"multiply-adds, forward of a sequence: {amount(forward['plain_form'])} in the plain form, "
        f"{amount(forward['executed'])} executed",
        f"multiply-adds, step: {amount(step['plain_form'])} in the plain form, {amount(step['executed'])} executed",
        f"peak memory in a step: {memory}",
        f"measured peak of this machine: {rates}",
        f"step: {seconds['step']:.3f} s ({profile['spread']['fastest']:.3f} to {profile['spread']['slowest']:.3f}), "
        f"{percent(profile['share_of_peak'])} of peak",
        "",
        table(
            ("phase", "seconds", "share"),
            [(p, f"{seconds['phases'][p]:.4f}", percent(seconds["phases"][p] / seconds["step"])) for p in PHASES],
        ),
        "",
        f"Layer by layer, {seconds['counted_step']:.3f} s a step in eager mode:",
    ]
    for title, key in (("layer", "layers"), ("layer class", "layer_classes")):
        lines += ["", _layers(title, profile[key])]
    operations = [(row["name"], f"{row['seconds']:.4f}", str(row["calls"])) for row in profile["operations"]]
    if operations:
        lines += ["", table(("operation", "seconds", "calls"), operations)]
    return "\n".join(lines)


def _layers(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (
            row["name"][0],
            f"{row['seconds']:.4f}",
            f"{row['by_phase'].get('forward', 0):.4f}",
            f"{row['by_phase'].get('backward', 0):.4f}",
            amount(row["multiply_adds"]) if row["multiply_adds"] else "-",
            percent(row["share_of_peak"]),
        )
        for row in rows
    ]
    return table((title, "seconds", "forward", "backward", "MACs", "of peak"), cells)
