"""What a cancelled call did is taken back, and nothing of what others did meanwhile."""

from __future__ import annotations

from typing import Any

from ketools.core.principals import OPERATOR
from ketools.service.service import EditService
from ketools.tools.toolbox import Toolbox

SPACE = "user/a"


def noted(box: Toolbox, land: str, target: str) -> Any:
    made = box.edit_fact(land, f"The capital of {land} is", target, SPACE, method="ice")
    assert made.status == "committed", made.line()
    return made


def live(service: EditService) -> tuple[str, ...]:
    return service.journal.head(SPACE).live


def test_an_edit_goes_and_what_it_had_replaced_comes_back_in_its_place(service: EditService, box: Toolbox) -> None:
    first, other = noted(box, "France", "Lyon"), noted(box, "Italy", "Milan")
    second = noted(box, "France", "Nice")
    service.take_back(OPERATOR, second)
    assert live(service) == (first.edit_id, other.edit_id)
    assert box.ask("What is the capital of France?", SPACE).answer == "Lyon"


def test_what_others_committed_after_it_stays(service: EditService, box: Toolbox) -> None:
    mine, theirs = noted(box, "France", "Lyon"), noted(box, "Italy", "Milan")
    service.take_back(OPERATOR, mine)
    assert live(service) == (theirs.edit_id,)
    assert service.journal.head(SPACE).reason == "revert of version 1"


def test_an_undo_and_a_restore_are_taken_back_too(service: EditService, box: Toolbox) -> None:
    made = noted(box, "France", "Lyon")
    service.take_back(OPERATOR, box.undo_edit(made.edit_id))
    assert live(service) == (made.edit_id,)
    service.take_back(OPERATOR, box.restore_space(SPACE, 0))
    assert live(service) == (made.edit_id,)


def test_what_changed_nothing_is_left_alone(service: EditService, box: Toolbox) -> None:
    before = service.journal.change_counter()
    tried = box.edit_fact("France", "The capital of France is", "Lyon", "user/b", method="ice", dry_run=True)
    counted = service.journal.change_counter()
    service.take_back(OPERATOR, tried)
    assert service.journal.change_counter() == counted >= before
