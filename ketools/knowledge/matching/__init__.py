"""The one place that judges answers: whether a text states a target, equals it, or says that it does not know."""

from ketools.core.sentences import first_statement
from ketools.knowledge.matching.exact import exact_match
from ketools.knowledge.matching.judging import agrees, mentions, says
from ketools.knowledge.matching.refusals import refuses

__all__ = ["agrees", "exact_match", "first_statement", "mentions", "refuses", "says"]
