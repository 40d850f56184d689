"""How much one principal may have going on, and what a refusal says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import LimitReached
from ketools.core.principals import OPERATOR, principal
from ketools.models.editable import EditableModel
from ketools.service.opening import open_service
from ketools.service.quotas import Quotas, Window
from ketools.service.rounds import Rounds
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.tools.calling import call
from ketools.tools.schemas import get_tool
from ketools.tools.toolbox import Toolbox

BOB = principal("bob", ["read", "edit"], ["user/bob", "session/bob/*"])
LYON = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon", "method": "ice"}


@pytest.fixture
def limited(atlas: EditableModel, tmp_path: Path) -> Iterator[EditService]:
    """A service with small limits."""
    limits: dict[str, Any] = {
        "max_spaces": 3,  # bob's own and two sessions
        "max_live_edits": 2,
        "max_jobs": 1,
        "max_edits_per_minute": 5,
        "max_text_per_minute": 3000,
    }
    opened = open_service(Settings(home=tmp_path, consolidate=False, **limits), atlas)
    yield opened
    opened.close()


def done(service: EditService, tool: str, who: Any = BOB, **arguments: Any) -> Any:
    return call(get_tool(tool), Toolbox(service, who), arguments).result


def test_edits_beyond_those_of_a_minute_are_told_how_long_to_wait(limited: EditService) -> None:
    for _ in range(5):
        done(limited, "edit_fact", **LYON, dry_run=True)
    with pytest.raises(LimitReached, match=r"bob may send 5 edits a minute; call again in (60|59) s"):
        done(limited, "edit_fact", **LYON)
    assert done(limited, "list_edits").edits == ()
    assert done(limited, "edit_fact", OPERATOR, **LYON).status == "committed", "others are not held up"


def test_a_batch_counts_every_fact_of_it_and_one_that_never_fits_is_told_so(limited: EditService) -> None:
    facts = [{"subject": f"S{i}", "prompt": f"The capital of S{i} is", "target_new": "Oslo"} for i in range(6)]
    with pytest.raises(LimitReached, match="One call may bring 5 edits, and this one brings 6: send less"):
        done(limited, "edit_facts", facts=facts)


def test_text_beyond_that_of_a_minute_is_refused_before_anything_is_read_of_it(limited: EditService) -> None:
    with pytest.raises(LimitReached, match="3000 bytes of text"):
        done(limited, "ask", question="x" * 4000)
    done(limited, "list_edits")


def test_spaces_and_live_edits_have_an_end_and_undo_makes_room(limited: EditService) -> None:
    made = [done(limited, "edit_fact", **LYON, space=f"session/bob/{i}") for i in range(2)]
    with pytest.raises(LimitReached, match="3 spaces, as many as it may"):
        done(limited, "edit_fact", **LYON, space="session/bob/other")
    with pytest.raises(LimitReached, match="3 spaces, as many as it may"):
        done(limited, "fork_space", source="session/bob/0", name="session/bob/fork")
    italy = {**LYON, "subject": "Italy", "prompt": "The capital of Italy is"}
    with pytest.raises(LimitReached, match="2 live edits and may have 2: undo some first"):
        done(limited, "edit_fact", **italy, space="session/bob/0")
    done(limited, "undo_edit", edit_id=made[0].edit_id)
    assert done(limited, "edit_fact", **italy, space="session/bob/0").status == "committed"


def test_jobs_of_a_principal_have_an_end_and_those_of_others_go_on(limited: EditService) -> None:
    stop = threading.Event()
    limited.backend.runner.handlers = {"evaluate_space": lambda *_: {"waited": stop.wait()}}  # a job that lasts
    assert done(limited, "evaluate_space").state in ("queued", "running")
    with pytest.raises(LimitReached, match=r"bob has 1 jobs that have not ended.*job_status"):
        done(limited, "evaluate_space")
    assert done(limited, "evaluate_space", OPERATOR, space="user/local").state in ("queued", "running")
    stop.set()


def test_every_line_of_a_queue_gives_one_in_turn() -> None:
    queue = Rounds[str]()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put(item[0], item)
    assert [queue.get() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_what_was_spent_is_forgotten_after_a_minute(limited: EditService) -> None:
    now = [0.0]
    quotas = Quotas(limited.backend, clock=lambda: now[0])
    quotas.spend_edits(BOB, 5)
    now[0] = 59.0
    with pytest.raises(LimitReached, match="call again in 1 s"):
        quotas.spend_edits(BOB, 1)
    now[0] = 60.0
    quotas.spend_edits(BOB, 5)


def test_the_wait_is_that_for_the_earliest_moment_at_which_it_fits() -> None:
    window = Window()
    window.spent.extend([(0.0, 3), (10.0, 1), (20.0, 1)])
    assert window.wait_s(1, 5, 25.0) == 35.0
    assert window.wait_s(4, 5, 25.0) == 45.0
    assert window.wait_s(5, 5, 25.0) == 55.0
