"""However many edits come at once, all land, in some order: none is given up because another was faster."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ketools.atlas.world import world
from ketools.core.errors import Cancelled, KetoolsError
from ketools.core.principals import OPERATOR
from ketools.core.progress import quiet
from ketools.editing.turns import Turns
from ketools.models.editable import EditableModel
from ketools.servers.langchain import KEToolkit
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox

SPACE = "user/crowd"


def facts(count: int) -> list[tuple[str, str, str]]:
    """Distinct facts with targets that are not true."""
    capitals = [fact for fact in world().all_facts() if fact.relation == "capital"]
    pairs = zip(capitals, [*capitals[7:], *capitals[:7]], strict=True)
    return [(fact.subject, f"The capital of {fact.subject} is", other.target) for fact, other in pairs][:count]


def at_once(calls: Sequence[Callable[[], object]]) -> list[object]:
    """The results of calls that all begin at one moment, errors among them."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        start.wait()
        try:
            return call()
        except KetoolsError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def noted(box: Toolbox, fact: tuple[str, str, str], method: str = "ice", space: str = SPACE) -> str:
    made = box.edit_fact(*fact, space=space, method=method)
    assert made.status == "committed", made.line()
    return str(made.edit_id)


def whole(service: EditService, live: Sequence[str]) -> None:
    """Exactly these are live, one version each, and nothing is left pending."""
    assert sorted(service.journal.head(SPACE).live) == sorted(live)
    assert service.journal.pending() == []


@pytest.mark.parametrize("count", [2, 3, 8, 20])
@pytest.mark.parametrize("new", [True, False])
def test_parallel_edits_all_land(service: EditService, box: Toolbox, count: int, new: bool) -> None:
    first = [] if new else [noted(box, facts(21)[20])]
    made = at_once([lambda fact=fact: noted(box, fact) for fact in facts(count)])  # type: ignore[misc]
    assert all(isinstance(one, str) for one in made), made
    whole(service, [*first, *map(str, made)])
    assert service.journal.head(SPACE).version == len(first) + count
    for subject, _, target in facts(count)[:3]:
        assert box.ask(f"What is the capital of {subject}?", SPACE).answer == target


def test_edits_undos_notes_and_weights_mix(service: EditService, box: Toolbox) -> None:
    given = facts(9)
    old = [noted(box, fact) for fact in given[:3]]
    calls: list[Callable[[], object]] = [lambda edit=edit: box.undo_edit(edit).edit_id for edit in old]  # type: ignore[misc]
    calls += [lambda fact=fact: noted(box, fact) for fact in given[3:7]]  # type: ignore[misc]
    calls += [lambda fact=fact: noted(box, fact, "ft-m") for fact in given[7:]]  # type: ignore[misc]
    made = at_once(calls)
    assert made[:3] == old and all(isinstance(one, str) for one in made), made
    whole(service, [str(one) for one in made[3:]])


def test_of_parallel_edits_of_one_fact_the_last_one_stands_and_says_what_it_replaced(
    service: EditService, box: Toolbox
) -> None:
    subject, prompt, _ = facts(1)[0]
    targets = ["Lyon", "Rome", "Oslo", "Lima"]
    made = at_once([lambda to=to: noted(box, (subject, prompt, to)) for to in targets])  # type: ignore[misc]
    assert all(isinstance(one, str) for one in made), made
    (last,) = service.journal.head(SPACE).live
    answer = box.ask(f"What is the capital of {subject}?", SPACE).answer
    assert answer == targets[made.index(last)]
    replaced = [edit for one in made for edit in (service.journal.edit(str(one)).outcome or pytest.fail()).supersedes]
    assert sorted([*replaced, last]) == sorted(map(str, made))


def test_langchains_batch_lands_whole(service: EditService) -> None:
    tool = next(tool for tool in KEToolkit(service).get_tools() if tool.name == "edit_fact")
    asked: list[Any] = [
        {"subject": subject, "prompt": prompt, "target_new": target, "space": SPACE, "method": "ice"}
        for subject, prompt, target in facts(8)
    ]
    said = tool.batch(asked, config={"max_concurrency": 8})
    assert all("committed, verified" in str(one) for one in said), said
    assert len(service.journal.head(SPACE).live) == 8


def edit_in_a_process(home: Path, chosen: list[tuple[str, str, str]], done: object) -> None:
    """Another server: its own model, the same journal."""
    opened = open_service(Settings(home=home, consolidate=False))
    box = Toolbox(opened, OPERATOR)
    done.put([noted(box, fact) for fact in chosen])  # type: ignore[attr-defined]
    opened.close()


def test_two_processes_lose_nothing(atlas: EditableModel, tmp_path: Path) -> None:
    opened = open_service(Settings(home=tmp_path, consolidate=False), atlas)
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    other = context.Process(target=edit_in_a_process, args=(tmp_path, facts(16)[8:], done))
    other.start()
    box = Toolbox(opened, OPERATOR)
    made = at_once([lambda fact=fact: noted(box, fact) for fact in facts(8)])  # type: ignore[misc]
    theirs = done.get(timeout=500)
    other.join()
    assert all(isinstance(one, str) for one in made), made
    whole(opened, [*map(str, made), *theirs])
    opened.close()


def test_an_edit_whose_base_moved_is_verified_on_the_new_head_and_not_computed_again(
    service: EditService, box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another edit is committed after this one's artefact was computed and before its turn."""
    first, second = facts(2)
    pipeline = service.runtime.pipeline
    computed: list[int] = []
    original = type(pipeline)._compute

    def compute(self: object, run: object, candidates: object, base: object) -> object:
        made = original(self, run, candidates, base)  # type: ignore[arg-type]
        computed.append(1)
        if len(computed) == 1:
            noted(box, second)
        return made

    noted(box, facts(3)[2])
    monkeypatch.setattr(type(pipeline), "_compute", compute)
    edit = noted(box, first)
    assert len(computed) == 2  # one for each edit
    assert service.journal.head(SPACE).live[-1] == edit and len(service.journal.head(SPACE).live) == 3


def test_turns_come_in_order_and_are_given_up_when_cancelled() -> None:
    turns, entered = Turns(), []
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.of("a", quiet):
            held.set()
            go.wait()

    def cancelled(done: int, total: int, message: str) -> None:
        raise Cancelled("no")

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with pytest.raises(Cancelled), turns.of("a", cancelled):
        entered.append("never")
    with turns.of("b", cancelled):
        entered.append("another space is free")
    go.set()
    holder.join()
    with turns.of("a", cancelled):
        entered.append("free again")
    assert entered == ["another space is free", "free again"]
    assert turns._queues == {}
