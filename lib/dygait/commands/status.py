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

    found = status(args.run)
    print(json.dumps(found, indent=2) if args.json else printable(_to_text(found)))


def _to_text(found: dict[str, Any]) -> str:
    from dygait.logs import duration

    why = f": {found['why']}" if found["why"] else ""
    lines = [f"{found['run']}: {found['state']}{why}"]
    if found["iteration"] is not None:
        speed = f", {found['speed']:.2f} it/s" if found["speed"] else ""
        left = f", {duration(found['seconds_left'])} left" if found["seconds_left"] is not None else ""
        lines.append(f"iteration   {found['iteration']} of {found['total']}{speed}{left}")
    if found["last_word"] is not None:
        lines.append(f"last update {found['last_word']}")
    if found["losses"]:
        lines.append("last values " + ", ".join(f"{name} {_number(value)}" for name, value in found["losses"].items()))
    lines.append(f"checkpoint  {found['checkpoint'] or 'none'}")
    if found["damaged"]:
        lines.append(f"damaged     {', '.join(found['damaged'])}")
    if found["memory"] is not None:
        gpu = f", of the GPU {found['gpu_memory'] / 2**30:.2f} GiB" if found["gpu_memory"] else ""
        lines.append(f"memory      {found['memory'] / 2**30:.2f} GiB at most{gpu}")
    for test in found["tests"][-1:]:
        results = ", ".join(f"{group} {value:.1f}" for group, value in test.get("results", {}).items())
        protocol = test.get("protocol", "scored elsewhere")
        lines.append(f"last test   {protocol}, iteration {test.get('iteration')}: {results or 'no numbers'}")
    if found["starts"] > 1:
        lines.append(f"starts      {found['starts']}")
    lines += [f"warning     {text}" for text in found["warnings"]]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
