"""`dygait evaluate`: score saved features with any protocol or metric."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dygait.commands.messages import write_file

if TYPE_CHECKING:
    from dygait.evaluation.features import SavedFeatures

HELP = "score saved features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Score the features that `dygait extract` saved."
    parser.add_argument("features", type=Path, help="the folder of the features")
    parser.add_argument(
        "--protocol",
        metavar="NAME|FILE.yaml",
        help="a protocol's name, or a YAML file that declares one; default: that of the features' configuration",
    )
    parser.add_argument("--metric", choices=("euc", "cos"), help="default: the configuration's")
    parser.add_argument(
        "--partition", metavar="FILE", help="a partition whose lists are used; default: those of the extraction"
    )
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="add the features of another folder to these")
    parser.add_argument("--re-rank", action="store_true", help="k-reciprocal re-ranking (k1 6, k2 6, lambda 0.3)")
    parser.add_argument(
        "--intervals",
        type=int,
        metavar="N",
        help="resamples of the bootstrap; 0: no intervals (default: that of evaluator_cfg.intervals)",
    )
    parser.add_argument("--ranks-only", action="store_true", help="skip verification and open-set rates")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the result as CSV")


def main(args: argparse.Namespace) -> None:
    from dygait.data.partition import load_partition
    from dygait.evaluation import Options, ReRank, evaluate_saved, to_csv, to_json, to_text
    from dygait.evaluation.builtin_protocols import protocols_of
    from dygait.evaluation.features import load_features
    from dygait.evaluation.intervals import RESAMPLES
    from dygait.evaluation.literature import with_published

    saved = load_features(args.features)
    if args.gallery is not None:
        saved = _concatenate(saved, load_features(args.gallery), args.features, args.gallery)
    if args.partition is not None:
        saved = replace(saved, origin={**saved.origin, **load_partition(args.partition, "").lists})
    metric = args.metric or saved.origin.get("metric", "euc")
    options = Options(
        re_rank=ReRank() if args.re_rank else None,
        intervals=RESAMPLES if args.intervals is None else args.intervals,
        verification=not args.ranks_only,
        open_set=not args.ranks_only,
    )
    for number, protocol in enumerate(protocols_of(args.protocol, saved.origin, args.features)):
        result, baseline = evaluate_saved(saved, protocol, metric, options)
        print(to_text(result, baseline, published=with_published(result, saved.origin, saved.ids, "model")))
        suffix = f"-{protocol.name.replace('/', '_')}" if number else ""
        for path, text in ((args.json, to_json), (args.csv, to_csv)):
            if path is not None:
                write_file(path.with_name(f"{path.stem}{suffix}{path.suffix}"), text(result))


def _concatenate(first: SavedFeatures, second: SavedFeatures, folder: Path, gallery: Path) -> SavedFeatures:
    """Return the features of two folders together, with the origin of the first; UserError if they do not fit."""
    import numpy as np

    from dygait.errors import UserError

    shapes = [part.features.shape[1:] for part in (first, second)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{gallery}: features of (C, P) = {shapes[1]}, those of {folder} are {shapes[0]}; "
            "extract both with the same network"
        )
    names = [part.origin["feature"] for part in (first, second) if "feature" in part.origin]
    if len(set(names)) > 1:
        raise UserError(
            f"{gallery}: the features are the network's {names[1]}, those of {folder} its {names[0]}; "
            "extract both with the same evaluator_cfg.feature"
        )
    keys = [set(zip(part.ids, part.types, part.views, strict=True)) for part in (first, second)]
    if both := keys[0] & keys[1]:
        raise UserError(
            f"--gallery {gallery}: {len(both)} sequences are in {folder} too, such as "
            f"{'/'.join(min(both))}; a sequence would be compared with itself"
        )
    columns = {key: getattr(first, key) + getattr(second, key) for key in ("ids", "types", "views", "lengths")}
    gei = None
    if first.gei is not None and second.gei is not None and first.gei.shape[1:] == second.gei.shape[1:]:
        gei = np.concatenate([first.gei, second.gei])
    return replace(first, **columns, features=np.concatenate([first.features, second.features]), gei=gei)
