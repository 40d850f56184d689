"""Benchmarks: cases, measures, protocols, analyses, reports and the gate."""

from ketools.evaluation.baseline import Baseline
from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.evaluation.data import NAMES, BadRow, Dataset, load
from ketools.evaluation.results import CaseResult, Summary, summarise
from ketools.evaluation.runner import Checkpoint, EvaluationSetup, evaluate, evaluate_batch, evaluate_sequential
from ketools.evaluation.window import askable

__all__ = [
    "NAMES",
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
    "evaluate",
    "evaluate_batch",
    "evaluate_sequential",
    "load",
    "summarise",
]
