"""`dygait status`: show the state of a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HELP = "show the state of a run, from the files in its folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the run's folder: output/<dataset>/<model>/<save_name>")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> None:
    from dygait.runs.status import status
    from dygait.untrusted import printable

    state = status(args.run)
    print(json.dumps(state, indent=2) if args.json else printable(_to_text(state)))


def _to_text(state: dict[str, Any]) -> str:
    from dygait.logs import duration

    reason = f": {state['why']}" if state["why"] else ""
    lines = [f"{state['run']}: {state['state']}{reason}"]
    if state["iteration"] is not None:
        speed = f", {state['speed']:.2f} it/s" if state["speed"] else ""
        left = f", {duration(state['seconds_left'])} left" if state["seconds_left"] is not None else ""
        lines.append(f"iteration   {state['iteration']} of {state['total']}{speed}{left}")
    if state["last_word"] is not None:
        lines.append(f"last update {state['last_word']}")
    if state["losses"]:
        lines.append("last values " + ", ".join(f"{name} {_format(value)}" for name, value in state["losses"].items()))
    lines.append(f"checkpoint  {state['checkpoint'] or 'none'}")
    if state["damaged"]:
        lines.append(f"damaged     {', '.join(state['damaged'])}")
    if state["memory"] is not None:
        gpu = f", of the GPU {state['gpu_memory'] / 2**30:.2f} GiB" if state["gpu_memory"] else ""
        lines.append(f"memory      {state['memory'] / 2**30:.2f} GiB at most{gpu}")
    for test in state["tests"][-1:]:
        results = ", ".join(f"{group} {value:.1f}" for group, value in test.get("results", {}).items())
        protocol = test.get("protocol", "scored elsewhere")
        lines.append(f"last test   {protocol}, iteration {test.get('iteration')}: {results or 'no numbers'}")
    if state["starts"] > 1:
        lines.append(f"starts      {state['starts']}")
    lines += [f"warning     {text}" for text in state["warnings"]]
    return "\n".join(lines)


def _format(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
