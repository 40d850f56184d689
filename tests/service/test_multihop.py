"""answer_multihop over a space's edits, whichever way they are served."""

from __future__ import annotations

import pytest

from ketools.core.errors import Forbidden, NotFound
from ketools.core.principals import OPERATOR, principal
from ketools.core.requests import EditRequest
from ketools.multihop import AGENTS
from ketools.service.service import EditService
from ketools.tools.toolbox import Toolbox

SPACE = "user/ann"
QUESTION = "What is the currency of the country of Lima?"


def test_edits_of_the_whole_chain_of_spaces_count_and_are_cited(box: Toolbox) -> None:
    shared = box.edit_fact("Lima", "The country of Lima is", "Japan", "global", "ice")
    own = box.edit_fact("Japan", "The currency of Japan is the", "peso", SPACE, "ice")
    everyone, ann = box.answer_multihop(QUESTION, "global"), box.answer_multihop(QUESTION, SPACE)
    assert (everyone.answer, everyone.citations, everyone.space) == ("yen", (shared.edit_id,), "global")
    assert (ann.answer, ann.citations) == ("peso", (shared.edit_id, own.edit_id))
    assert (shared.edit_id or "-") in everyone.line() and (everyone.version, ann.version) == (1, 1)


def test_a_parametric_edit_is_in_the_memory_too(box: Toolbox) -> None:
    made = box.edit_fact("Lima", "The country of Lima is", "Japan", SPACE, "ft-m")
    assert made.verified
    assert box.answer_multihop(QUESTION, SPACE).citations == (made.edit_id,)


def test_a_correction_in_other_words_replaces_so_that_nothing_contradicts(box: Toolbox) -> None:
    box.edit_fact("Lima", "The country of Lima is", "Japan", SPACE, "ice")
    box.edit_fact("Lima", "What is the country of Lima?", "Kenya", SPACE, "ice")
    result = box.answer_multihop(QUESTION, SPACE)
    assert result.answer == "shilling" and result.conflicts == ()


def test_an_undone_edit_is_out_of_the_memory(box: Toolbox) -> None:
    made = box.edit_fact("Lima", "The country of Lima is", "Japan", SPACE, "ice")
    box.undo_edit(made.edit_id or "")
    result = box.answer_multihop(QUESTION, SPACE)
    assert not result.affected and result.answer == "sol"


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_can_be_asked_for(box: Toolbox, agent: str) -> None:
    assert box.service.asking.multihop(OPERATOR, QUESTION, "session/new", agent).agent == agent


def test_an_unknown_agent_and_a_foreign_space_are_errors(service: EditService) -> None:
    with pytest.raises(NotFound, match="mello"):
        service.asking.multihop(OPERATOR, QUESTION, "global", "melo")
    stranger = principal("eve", ["read"], ["user/eve"])
    request = EditRequest(subject="Lima", prompt="The country of Lima is", target_new="Japan")
    service.edits.edit(OPERATOR, request, SPACE, "ice")
    with pytest.raises(Forbidden):
        service.asking.multihop(stranger, QUESTION, SPACE)
