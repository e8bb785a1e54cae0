"""Evaluation: from features, ids, types and views to percentages under a named protocol, by pure functions."""

from __future__ import annotations

from dygait.evaluation.distances import METRICS, distance_blocks, pairwise_distance
from dygait.evaluation.evaluate import EvaluationResult, evaluate, evaluate_detailed
from dygait.evaluation.protocols import (
    GREW_SUBMISSION,
    PROTOCOLS,
    ProbeGroup,
    Protocol,
    Selector,
    Submission,
    resolve_protocol,
)
from dygait.evaluation.ranking import ByView, rank1_by_view
from dygait.evaluation.report import to_csv, to_dict, to_json, to_text
from dygait.evaluation.submission import write_grew_submission

__all__ = [
    "GREW_SUBMISSION",
    "METRICS",
    "PROTOCOLS",
    "ByView",
    "EvaluationResult",
    "ProbeGroup",
    "Protocol",
    "Selector",
    "Submission",
    "distance_blocks",
    "evaluate",
    "evaluate_detailed",
    "pairwise_distance",
    "rank1_by_view",
    "resolve_protocol",
    "to_csv",
    "to_dict",
    "to_json",
    "to_text",
    "write_grew_submission",
]
