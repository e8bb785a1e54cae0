"""The features of N sequences with their ids, types and views: the input of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

import numpy as np
import torch
from torch import Tensor

from dygait.config.schema import Selector
from dygait.errors import UserError


@dataclass(frozen=True)
class Sequences:
    """Features, ids, types and views of N sequences."""

    features: Tensor
    ids: np.ndarray
    types: np.ndarray
    views: np.ndarray

    @classmethod
    def checked(
        cls, features: Tensor | np.ndarray, ids: Sequence[str], types: Sequence[str], views: Sequence[str]
    ) -> Sequences:
        """Convert the arguments; UserError if shapes or lengths do not match, or features are not finite."""
        if isinstance(features, np.ndarray):
            features = torch.from_numpy(features if features.flags.writeable else features.copy())
        features = features.detach()
        if features.ndim != 3 or not features.is_floating_point():
            raise UserError(
                f"features: {tuple(features.shape)} of {features.dtype}; "
                "they must be floating-point values of shape (sequences, C, P)"
            )
        names = [np.array([str(name) for name in column], dtype=str) for column in (ids, types, views)]
        lengths = (len(features), *map(len, names))
        if len(set(lengths)) != 1:
            raise UserError(
                "features, ids, types, views: {} of {}, {}, {}; give one of each per sequence".format(*lengths)
            )
        if not len(features):
            raise UserError("features: there are no sequences to evaluate")
        # A sum is finite only if every term is; checking each takes more time and memory than the features.
        suspects = features[~torch.isfinite(features.flatten(1).sum(1))]
        broken = int((~torch.isfinite(suspects).flatten(1).all(1)).sum())
        if broken:
            raise UserError(
                f"features: {broken} of {len(features)} sequences have NaN or infinite values; "
                "the network has diverged, use an earlier checkpoint"
            )
        return cls(features, *names)

    def keys(self) -> np.ndarray:
        """Return the ``id-type-view`` keys of a partition's lists: (N,) names."""
        return np.array(["-".join(key) for key in zip(self.ids, self.types, self.views, strict=True)], dtype=str)

    def select(self, selector: Selector, lists: Mapping[str, Collection[str]] | None = None) -> np.ndarray:
        """Return whether all criteria of a selector hold for each sequence: (N,) bool; `lists` are the partition's."""
        criteria = ((self.types, selector.types), (self.ids, selector.ids), (self.views, selector.views))
        chosen = ~_matches(self.ids, selector.not_ids) & ~_matches(self.views, selector.not_views)
        for names, patterns in criteria:
            chosen &= _matches(names, patterns)
        if selector.listed is not None:
            assert lists is not None
            listed = np.array(sorted(set(lists[selector.listed_in])), dtype=str)
            chosen &= np.isin(self.keys(), listed) == selector.listed
        return chosen


def _matches(names: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    """Return whether each name matches one of the shell patterns: (N,) bool."""
    if not patterns or "*" in patterns:
        return np.full(len(names), bool(patterns))
    expression = re.compile("|".join(translate(p) for p in patterns))
    unique, inverse = np.unique(names, return_inverse=True)
    return np.array([expression.match(name) is not None for name in unique], dtype=bool)[inverse.reshape(-1)]
