"""Which differences within a person do synthetic walkers lack? Whitening by parts of what real people show.

    python scripts/compare_whitening.py --data DATA --cache DIR
    python scripts/compare_whitening.py --data DATA --cache DIR --world "syngait://wild?seed=19&train_ids=40&..." ...

Weights (`--weights`, by default those that ship) embed CASIA-B's ids `--people`, some sequences of each `--world`, and
CASIA-B's ids `--tested`. The latter are compared after whitening by the covariance of features within

- the people, as `dygait whiten` does; their walks of one type (what views change); their walks of one view (what
  clothes, bags and chance change); the means of the views alone; the people with the mean of each view subtracted;
- the walkers of each world.

Rank-1 in percent, CASIA-B's protocol, identical view excluded; parts count as the weights say. For each world: which
share of the variance between the real means of the views lies in the span of the world's (10 of C directions: of random
ones, 10 / C), and how many times that of the world it is. Choose on ids 001-074; 075-124 are for tests. Nothing of a
single person is printed. `--cache` keeps features between calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import ids_between, markdown_table, write_figures
from dygait import evaluate
from dygait.data.stores import open_store
from dygait.deployment import PretrainedModel, load_pretrained
from dygait.deployment.embedding import embed_stored
from dygait.deployment.whitening import between_view_whitening, within_class_whitening
from dygait.synthetic.settings import is_address

GROUPS = ("NM", "BG", "CL")
MOST = 700  # sequences of a world


class Embedded(NamedTuple):
    """Features of sequences: (N, C, P), and their ids, types and views (N,)."""

    features: np.ndarray
    ids: np.ndarray
    types: np.ndarray
    views: np.ndarray

    def classes(self, *columns: str) -> np.ndarray:
        """Return a name for each sequence, equal where the columns are."""
        return np.array(["/".join(names) for names in zip(*(getattr(self, column) for column in columns), strict=True)])

    def view_means(self) -> np.ndarray:
        """Return the features with each replaced by the mean of its view."""
        views, codes = np.unique(self.views, return_inverse=True)
        return np.stack([self.features[codes == code].mean(0) for code in range(len(views))])[codes]


def embed_people(model: PretrainedModel, root: str, people: str | None, cache: Path | None) -> Embedded:
    """Embed the people `FIRST-LAST` of a dataset; None: some sequences of those of a world."""
    store = open_store(root)
    keys = store.table.all_keys()
    if people is None:
        indices = np.linspace(0, len(keys) - 1, min(MOST, len(keys))).round().astype(int).tolist()
    else:
        indices = store.table.indices(ids_between(people, store.table.ids.names)).tolist()
    name = hashlib.sha256(f"{model.info.identity} {store.fingerprint} {indices}".encode()).hexdigest()[:16]
    path = None if cache is None else cache / f"{name}.npy"
    if path is not None and path.is_file():
        features = np.load(path)
    else:
        features = embed_stored(model, store, indices)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, features)
    return Embedded(
        features.astype(np.float64), *(np.array(column) for column in zip(*(keys[n] for n in indices), strict=True))
    )


def rank_1(tested: Embedded, mean: np.ndarray, matrix: np.ndarray, part_weights: np.ndarray) -> list[float]:
    """Return rank-1 of NM, BG and CL after whitening by a mean (P, C) and matrices (P, C, C)."""
    white = np.einsum("ncp,pcd->ndp", tested.features - mean.T, matrix)
    white = white / np.linalg.norm(white, axis=1, keepdims=True) * part_weights
    result = evaluate(white.astype(np.float32), list(tested.ids), list(tested.types), list(tested.views), "CASIA-B")
    return [result[group]["rank-1"] for group in GROUPS]


def of_real(people: Embedded) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return means and matrices of whitening by parts of what real people show."""
    x, means = people.features, people.view_means()
    samples = {
        "people": (x, people.ids),
        "walks of one type: views": (x, people.classes("ids", "types")),
        "walks of one view: clothes, bags, chance": (x, people.classes("ids", "views")),
        "people, without the mean of each view": (x - means, people.ids),
    }
    mean = x.mean(0).T
    matrices = {name: within_class_whitening(*sample)[1] for name, sample in samples.items()}
    matrices["the mean of each view alone"] = between_view_whitening(x, people.views)[1]
    return {name: (mean, matrix) for name, matrix in matrices.items()}


def compare_views(people: Embedded, world: Embedded) -> tuple[float, float]:
    """Return the share of the real variance between views in the span of a world's, and the ratio of both."""
    shares = []
    real, synthetic = (np.unique(e.view_means(), axis=0) - e.view_means().mean(0) for e in (people, world))
    for part in range(real.shape[2]):
        basis = np.linalg.svd(synthetic[:, :, part].T, full_matrices=False)[0][:, : len(synthetic) - 1]
        shares.append(np.square(real[:, :, part] @ basis).sum() / np.square(real[:, :, part]).sum())
    return float(np.mean(shares)), float(np.square(real).mean() / np.square(synthetic).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("compare_whitening.py", description="Whitening by real and by synthetic people.")
    parser.add_argument("--data", required=True, help="CASIA-B as a tree of pickles or a packed store")
    parser.add_argument(
        "--weights", default="syngait/small", help="with separate FCs and BNNecks (default: %(default)s)"
    )
    parser.add_argument("--people", default="001-049", help="first and last id (default: %(default)s)")
    parser.add_argument("--tested", default="050-074", help="first and last id (default: %(default)s)")
    parser.add_argument("--world", nargs="*", default=[], metavar="ADDRESS", help="syngait://...")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keeps features")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if wrong := [world for world in options.world if not is_address(world)]:
        parser.error(f"--world {wrong[0]}: give an address, syngait://...")
    shipped = load_pretrained(options.weights)
    model = PretrainedModel(shipped.network, dataclasses.replace(shipped.info, feature="embeddings"))
    people, tested = (embed_people(model, options.data, ids, options.cache) for ids in (options.people, options.tested))
    channels, parts = tested.features.shape[1:]
    necks = shipped.info.model_cfg.get("SeparateBNNecks", {})
    part_weights = np.array(necks.get("part_weights") or [1.0] * parts)
    centre = shipped.network.state_dict()["necks.bn1d.running_mean"].double().numpy().reshape(channels, parts).T
    whitenings = {"nothing: the weights as they are": (centre, np.stack([np.eye(channels)] * parts)), **of_real(people)}
    worlds = {
        f"world {number}": embed_people(model, address, None, options.cache)
        for number, address in enumerate(options.world, 1)
    }
    whitenings |= {address: within_class_whitening(world.features, world.ids) for address, world in worlds.items()}
    rows = []
    for name, (mean, matrix) in whitenings.items():
        row = [name, *(f"{value:.1f}" for value in rank_1(tested, mean, matrix, part_weights))]
        rows.append(row + [f"{value:.2f}" for value in compare_views(people, worlds[name])] if name in worlds else row)
    print(markdown_table(rows, ("whitened by", *GROUPS, "real views in its span", "real variance of views over its")))
    write_figures(options.json, {"rows": rows}, people=options.people, tested=options.tested, worlds=options.world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
