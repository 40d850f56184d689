"""Benchmarks: cases, measures, protocols, analyses, reports and the gate."""

from ketools.evaluation.baseline import Baseline
from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.evaluation.data import NAMES, BadRow, Dataset, load
from ketools.evaluation.results import CaseResult, Summary, summarise
from ketools.evaluation.runner import Bench, Checkpoint, evaluate, evaluate_batch, evaluate_sequential
from ketools.evaluation.window import askable

__all__ = [
    "NAMES",
    "BadRow",
    "Baseline",
    "Bench",
    "CaseProbe",
    "CaseResult",
    "Checkpoint",
    "Dataset",
    "EditCase",
    "Summary",
    "askable",
    "evaluate",
    "evaluate_batch",
    "evaluate_sequential",
    "load",
    "summarise",
]
