"""What weights recognise: a model that is ready for inference, scored on a dataset without a configuration."""

from __future__ import annotations

from itertools import islice

import numpy as np

from dygait.data.partition import load_partition
from dygait.data.stores import open_store
from dygait.deployment.embedding import EmbeddingModel, embed
from dygait.errors import UserError
from dygait.evaluation import PROTOCOLS, EvaluationResult, evaluate_detailed, resolve_protocol

_AT_A_TIME = 256  # sequences that are read before they are embedded


def score(
    model: EmbeddingModel, root: str, dataset_name: str = "SynGait", partition: str | None = None
) -> EvaluationResult:
    """Embed the test ids of a dataset and evaluate their features under the dataset's protocol.

    Args:
        root: a packed store, a tree of pickles, or an address of SynGait.
        dataset_name: selects the protocol and, where there is no other, the partition.
        partition: as `data_cfg.dataset_partition`; None: that of an address, else that of the name.

    Raises:
        UserError: there is no such data, or nothing in it can be evaluated.
    """
    store = open_store(root)
    test = set(load_partition(partition or (root if dataset_name == "SynGait" else None), dataset_name).test)
    indices = [index for index, key in enumerate(store.table.all_keys()) if key[0] in test]
    if not indices:
        raise UserError(f"{root} has no sequence of the test ids")
    left, found = iter(indices), []
    while some := list(islice(left, _AT_A_TIME)):
        found.append(embed(model, [np.asarray(store.read(index)) for index in some]))
    ids, types, views = map(list, zip(*(store.table.key(index) for index in indices), strict=True))
    protocol = PROTOCOLS.get(resolve_protocol(None, dataset_name, False))
    return evaluate_detailed(np.concatenate(found), ids, types, views, protocol)
