"""The learnt scope: which of the live facts a prompt asks for, in any words and script."""

from ketools.knowledge.scope.decision import Scope, ScopeHit
from ketools.knowledge.scope.facts import Fact, Facts
from ketools.knowledge.scope.head import ScopeHead

__all__ = ["Fact", "Facts", "Scope", "ScopeHead", "ScopeHit"]
