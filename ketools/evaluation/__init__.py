"""Benchmarks: cases, measures, protocols, analyses, reports and the gate."""

from ketools.evaluation.baseline import Baseline
from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.evaluation.data import BadRow, Dataset, data_names, load
from ketools.evaluation.results import CaseResult, Summary, summarise
from ketools.evaluation.runner import Checkpoint, EvaluationSetup, evaluate, evaluate_batch, evaluate_sequential
from ketools.evaluation.window import askable

__all__ = [
    "BadRow",
    "Baseline",
    "CaseProbe",
    "CaseResult",
    "Checkpoint",
    "Dataset",
    "EditCase",
    "EvaluationSetup",
    "Summary",
    "askable",
    "data_names",
    "evaluate",
    "evaluate_batch",
    "evaluate_sequential",
    "load",
    "summarise",
]
