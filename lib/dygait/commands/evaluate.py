"""`dygait evaluate`: score saved features, under any protocol or metric."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "score saved features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Score the features that `dygait extract` saved."
    parser.add_argument("features", type=Path, help="the folder of the features")
    parser.add_argument(
        "--protocol",
        metavar="NAME|FILE.yaml",
        help="a protocol's name, or a YAML file that declares one; default: that of their configuration",
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
    from dataclasses import replace

    import numpy as np

    from dygait.data.partition import load_partition
    from dygait.errors import UserError
    from dygait.evaluation import Options, ReRank, evaluate_detailed, to_csv, to_json, to_text
    from dygait.evaluation.builtin_protocols import protocols_of
    from dygait.evaluation.features import load_features
    from dygait.evaluation.intervals import RESAMPLES
    from dygait.evaluation.literature import beside

    saved = load_features(args.features)
    parts = [saved]
    if args.gallery is not None:
        parts.append(load_features(args.gallery))
        shapes = [part.features.shape[1:] for part in parts]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{args.gallery}: features of (C, P) = {shapes[1]}, those of {args.features} are {shapes[0]}; "
                "extract both with the same network"
            )
        names = [part.origin["feature"] for part in parts if "feature" in part.origin]
        if len(set(names)) > 1:
            raise UserError(
                f"{args.gallery}: the features are the network's {names[1]}, those of {args.features} its {names[0]}; "
                "extract both with the same evaluator_cfg.feature"
            )
        keys = [set(zip(part.ids, part.types, part.views, strict=True)) for part in parts]
        if both := keys[0] & keys[1]:
            raise UserError(
                f"--gallery {args.gallery}: {len(both)} sequences are in {args.features} too, such as "
                f"{'/'.join(min(both))}; a sequence would be compared with itself"
            )
    protocols = protocols_of(args.protocol, saved.origin, args.features)
    metric = args.metric or saved.origin.get("metric", "euc")
    lists = saved.lists if args.partition is None else load_partition(args.partition, "").lists
    features = saved.features if len(parts) == 1 else np.concatenate([part.features for part in parts])
    ids, types, views = ([n for part in parts for n in getattr(part, key)] for key in ("ids", "types", "views"))
    options = Options(
        re_rank=ReRank() if args.re_rank else None,
        intervals=RESAMPLES if args.intervals is None else args.intervals,
        verification=not args.ranks_only,
        open_set=not args.ranks_only,
    )
    images = [part.gei.reshape(len(part.gei), -1, 1) for part in parts if part.gei is not None]
    for number, protocol in enumerate(protocols):
        result = evaluate_detailed(features, ids, types, views, protocol, metric, options=options, **lists)
        result = replace(result, feature=saved.origin.get("feature"))
        baselines = {}
        if len(images) == len(parts) and len({part.shape[1:] for part in images}) == 1:
            baselines["GEI nearest neighbour"] = evaluate_detailed(
                np.concatenate(images), ids, types, views, protocol, "euc", options=options, **lists
            )
        print(to_text(result, baselines, published=beside(result, saved.origin, ids, "model")))
        suffix = f"-{protocol.name.replace('/', '_')}" if number else ""
        for path, text in ((args.json, to_json), (args.csv, to_csv)):
            if path is not None:
                _write(path.with_name(f"{path.stem}{suffix}{path.suffix}"), text(result))


def _write(path: Path, text: str) -> None:
    from dygait.files import write_atomically, write_errors

    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    print(f"wrote {path}")
