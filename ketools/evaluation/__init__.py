"""Benchmarks: cases, measures and the single-edit protocol."""

from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.evaluation.data import NAMES, BadRow, Dataset, load
from ketools.evaluation.results import CaseResult, Summary, summarise
from ketools.evaluation.runner import Baseline, evaluate

__all__ = [
    "NAMES",
    "BadRow",
    "Baseline",
    "CaseProbe",
    "CaseResult",
    "Dataset",
    "EditCase",
    "Summary",
    "evaluate",
    "load",
    "summarise",
]
