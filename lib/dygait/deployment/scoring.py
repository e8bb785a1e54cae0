"""What weights recognise: a model that is ready for inference, scored on a dataset without a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dygait.data.partition import load_partition
from dygait.data.stores import Store, open_store
from dygait.deployment.embedding import EmbeddingModel, embed_stored
from dygait.errors import UserError
from dygait.evaluation import PROTOCOLS, EvaluationResult, evaluate_detailed, resolve_protocol
from dygait.synthetic.settings import is_address


def labelled_sequences(
    root: str, which: Literal["train", "test"], dataset_name: str = "SynGait", partition: str | None = None
) -> tuple[Store, list[int]]:
    """Open a dataset, and return the sequences of its training or test ids; arguments and errors as of `score`."""
    store = open_store(root)
    if partition is None and is_address(root):
        partition = root
    elif partition is None and (beside := Path(root, f"{dataset_name}.json")).is_file():
        partition = str(beside)
    sets = load_partition(partition, dataset_name)
    ids = set(getattr(sets, which))
    indices = [index for index, key in enumerate(store.table.all_keys()) if key[0] in ids]
    if not indices:
        raise UserError(f"{root} has no sequence of the {which} ids")
    return store, indices


def score(
    model: EmbeddingModel, root: str, dataset_name: str = "SynGait", partition: str | None = None
) -> EvaluationResult:
    """Embed the test ids of a dataset and evaluate their features under the dataset's protocol.

    Args:
        root: a packed store, a tree of pickles, or an address of SynGait.
        dataset_name: selects the protocol and, where there is no other, the partition.
        partition: as `data_cfg.dataset_partition`; None: that of an address, or NAME.json in the folder, else that of
            the name.

    Raises:
        UserError: there is no such data, or nothing in it can be evaluated.
    """
    store, indices = labelled_sequences(root, "test", dataset_name, partition)
    ids, types, views = map(list, zip(*(store.table.key(index) for index in indices), strict=True))
    protocol = PROTOCOLS.get(resolve_protocol(None, dataset_name, False))
    return evaluate_detailed(embed_stored(model, store, indices), ids, types, views, protocol)
