"""Evaluation: from features, ids, types and views to percentages under a named protocol, by pure functions."""

from dygait.config.schema import ProbeGroup, Protocol, Selector
from dygait.evaluation.builtin_protocols import (
    PROTOCOLS,
    classification_of,
    configured_name,
    configured_protocols,
    declared_protocol,
    name_problems,
    protocols_named,
    resolve_protocol,
)
from dygait.evaluation.comparisons import Options
from dygait.evaluation.distances import pairwise_distance
from dygait.evaluation.evaluate import (
    EvaluationResult,
    check_against_data,
    evaluate,
    evaluate_detailed,
    evaluate_saved,
)
from dygait.evaluation.reranking import ReRank
from dygait.evaluation.submission import SUBMISSIONS, Submission, write_submission
from dygait.evaluation.tables import to_csv, to_dict, to_json, to_text
