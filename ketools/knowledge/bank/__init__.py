"""A packaged bank of everyday facts in eleven languages: what a model can be asked that an edit must leave alone."""

from ketools.knowledge.bank.facts import BankFact, FactBank

__all__ = ["BankFact", "FactBank"]
