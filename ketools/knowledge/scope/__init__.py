"""The learnt scope: which of the live facts a prompt asks for, in any words and script. Importing it loads no torch."""

from ketools.knowledge.scope.decision import Scope, ScopeHit
from ketools.knowledge.scope.facts import Fact, Facts

__all__ = ["Fact", "Facts", "Scope", "ScopeHit"]
