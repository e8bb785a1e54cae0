"""`dygait cross`: test runs on datasets that they were not trained on."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

HELP = "test runs on other datasets: trained here, tested there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Test every run on every dataset, and write one table and heat map of all pairs."
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder, a checkpoint, or the name of weights that ship"
    )
    parser.add_argument(
        "--on",
        nargs="+",
        metavar="DATASET",
        help="a YAML file, whose data and protocol are used, or a run, for its data; default: those of the runs",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a key of the YAML files"
    )
    parser.add_argument(
        "--frame-rate",
        nargs="+",
        default=[],
        metavar="NAME=RATE",
        help="frames a second of a dataset: of one with n times the rate of the training, every nth frame is used",
    )
    parser.add_argument("--page", type=Path, default=Path("cross.html"), metavar="FILE", help="default: cross.html")
    parser.add_argument("--output", default="output", metavar="DIR", help="where the tests go (default: output)")


def main(arguments: argparse.Namespace) -> None:
    from dygait import distributed
    from dygait.commands.experiment import load_experiment
    from dygait.errors import UserError
    from dygait.reporting.cross import write_cross
    from dygait.testing.cross import config_of, run_cross

    page = arguments.page
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--page {page}: name a .html file; the tables are written next to it")
    datasets = [
        load_experiment(name, arguments.set, "test") if name.endswith((".yaml", ".yml")) else config_of(name)
        for name in arguments.on or arguments.runs
    ]
    datasets = list({config.data_cfg.model_dump_json(): config for config in datasets}.values())  # without duplicates
    rates = dict(map(_parse_rate, arguments.frame_rate))
    with distributed.process_group(None, datasets[0].trainer_cfg.collective_timeout) as device:
        tests = run_cross(arguments.runs, datasets, device, arguments.output, rates)
    if tests:
        write_cross(tests, page)
        print(f"wrote {page}, with .csv and .tex next to it")


def _parse_rate(text: str) -> tuple[str, float]:
    from dygait.errors import UserError

    name, _, rate = text.rpartition("=")
    with contextlib.suppress(ValueError):
        if name and float(rate) > 0:
            return name, float(rate)
    raise UserError(f"--frame-rate {text}: give NAME=RATE, such as CASIA-B=25")
