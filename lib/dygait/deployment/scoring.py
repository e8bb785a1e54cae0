"""Evaluation of a pretrained or exported model on a dataset, without a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dygait.data.partition import ALL, BUILT_IN_PARTITIONS, load_partition, with_all_ids
from dygait.data.stores import Store, open_store
from dygait.deployment.embedding import EmbeddingModel, embed_stored
from dygait.errors import UserError
from dygait.evaluation import EvaluationResult, evaluate_detailed
from dygait.synthetic.settings import is_address


def labelled_sequences(
    root: str, which: Literal["train", "test"], dataset_name: str = "SynGait", partition: str | None = None
) -> tuple[Store, list[int]]:
    """Open a dataset, and return the indices of the sequences of its training or test ids.

    Args:
        root: a packed store, a tree of pickles, or an address of SynGait.
        dataset_name: name of the dataset, which selects the partition if there is no other.
        partition: as `data_cfg.dataset_partition`; None: that of an address of SynGait, or `<dataset_name>.json` in
            the folder, else that of `dataset_name`. `all`, and None if there is none of these: every id is a training
            id.

    Raises:
        UserError: there is no such dataset, or it has no such sequence.
    """
    store = open_store(root)
    if partition is None and is_address(root):
        partition = root
    elif partition is None and (file := Path(root, f"{dataset_name}.json")).is_file():
        partition = str(file)
    elif partition is None and which == "train" and dataset_name not in BUILT_IN_PARTITIONS:
        partition = ALL
    sets = with_all_ids(load_partition(partition, dataset_name), partition, store.table.ids.names)
    ids = set(getattr(sets, which))
    indices = [index for index, key in enumerate(store.table.all_keys()) if key[0] in ids]
    if not indices:
        raise UserError(f"{root} has no sequence of the {which} ids")
    return store, indices


def score(model: EmbeddingModel, root: str) -> EvaluationResult:
    """Embed the test ids of SynGait and evaluate their features; `root` as for `labelled_sequences`."""
    store, indices = labelled_sequences(root, "test")
    ids, types, views = map(list, zip(*(store.table.key(index) for index in indices), strict=True))
    return evaluate_detailed(embed_stored(model, store, indices), ids, types, views, "SynGait")
