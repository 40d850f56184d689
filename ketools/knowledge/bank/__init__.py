"""A packaged bank of everyday facts in eleven languages: what a model can be asked that an edit must leave alone."""

from ketools.knowledge.bank.facts import BankFact, FactBank, in_rounds
from ketools.knowledge.bank.probes import KnownProbe, language_of, subject_questions

__all__ = ["BankFact", "FactBank", "KnownProbe", "in_rounds", "language_of", "subject_questions"]
