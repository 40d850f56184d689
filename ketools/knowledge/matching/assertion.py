"""Whether a statement asserts what it names."""

from __future__ import annotations

from ketools.core.phrases import plain
from ketools.knowledge.matching import denial, mention
from ketools.knowledge.matching.around import Around
from ketools.knowledge.matching.places import Place

RULES = (
    denial.denied_before,
    denial.denied_after,
    denial.replaced,
    denial.called_wrong,
    denial.corrected,
    mention.former,
    mention.nearly,
    mention.granted,
    mention.conceded,
    mention.left_open,
    mention.beside,
    mention.only_subject,
)
"""Ways in which a name is told and is not the answer."""


def asserts(statement: str, place: Place) -> bool:
    """Whether a statement asserts what it names at a place."""
    around = Around(plain(statement), place)
    return not any(rule(around) for rule in RULES)
