"""The pipeline of an edit on the real bundled model, through the tools."""

from __future__ import annotations

import pytest

from ketools.atlas.world import world
from ketools.core.errors import Cancelled, InvalidRequest, NotFound
from ketools.core.principals import OPERATOR
from ketools.core.requests import REFUSAL, Kind, Trait
from ketools.knowledge.traits import classify
from ketools.service.service import EditService
from ketools.tools.toolbox import FactInput, Toolbox

FRANCE = ("France", "The capital of France is")
QUESTION = "What is the capital of France?"
OTHERS = ("What is the capital of Japan?", "What is the currency of France?", "On which continent is Peru?")


def answers(box: Toolbox, space: str) -> list[str]:
    return [box.ask(q, space).answer for q in OTHERS]


def test_a_note_is_verified_on_the_engine_and_serves_at_once(box: Toolbox) -> None:
    before = answers(box, "session/1")
    result = box.edit_fact(*FRANCE, "Lyon", space="session/1", method="ice")
    assert result.status == "committed" and result.verified and result.created_space
    assert (result.before, result.after.rstrip(".")) == ("Paris.", "Lyon")
    assert result.evidence is not None and result.evidence.success_n >= 5 and result.evidence.locality_n >= 8
    assert box.ask(QUESTION, "session/1").answer == "Lyon"
    assert answers(box, "session/1") == before


def test_other_spaces_do_not_see_an_edit_and_children_do(box: Toolbox) -> None:
    box.edit_fact(*FRANCE, "Lyon", space="user/alice", method="ice")
    seen = {s: box.ask(QUESTION, s).answer for s in ("global", "user/bob", "session/alice/7", "session/9")}
    assert seen == {"global": "Paris", "user/bob": "Paris", "session/alice/7": "Lyon", "session/9": "Paris"}


@pytest.mark.parametrize("method", ["ice", "ike", "ft-m", "rome"])
def test_undo_brings_the_original_back_bit_for_bit(box: Toolbox, method: str) -> None:
    before = box.ask(QUESTION, "global", fingerprint=True)
    result = box.edit_fact(*FRANCE, "Lima", method=method, space="global")
    assert result.status == "committed", result.line()
    assert box.ask(QUESTION, "global", fingerprint=True).fingerprint != before.fingerprint
    box.undo_edit(str(result.edit_id))
    after = box.ask(QUESTION, "global", fingerprint=True)
    assert (after.answer, after.fingerprint) == (before.answer, before.fingerprint)


def test_auto_moves_its_note_into_the_weights(service: EditService, box: Toolbox) -> None:
    result = box.edit_fact(*FRANCE, "Lyon", space="session/1")
    assert result.method == "ice" and result.job_id is not None
    service.jobs.wait(result.job_id)
    job = box.job_status(result.job_id)
    assert job.state == "done" and job.result["consolidated"] == 1, job
    answer = box.ask(QUESTION, "session/1")
    assert (answer.answer, answer.notes_used) == ("Lyon", ())
    box.undo_edit(str(result.edit_id))
    assert box.ask(QUESTION, "session/1").answer == "Paris"


def test_auto_writes_facts_by_the_method_that_holds_most_and_the_rest_by_ft_m(service: EditService) -> None:
    assert service.edits.parametric(Kind.MODIFY) == "melo", "whatever the survey calls its phase"
    service.runtime.editor.configurations.remember({"memit": 2_000_000, "ft-m": 1_000_000})
    assert service.edits.parametric(Kind.INSERT, Kind.MODIFY) == "memit"
    assert service.edits.parametric(Kind.MODIFY, Kind.PERSONALITY) == "ft-m"
    assert service.edits.parametric(Kind.ERASE) == "ft-m"


def test_what_follows_from_a_note_moves_into_the_weights_with_it(service: EditService, box: Toolbox) -> None:
    result = box.edit_fact("Brasilia", "The country of Brasilia is", "Mali", space="session/1")
    assert result.job_id is not None
    service.jobs.wait(result.job_id)
    assert box.job_status(result.job_id).result["consolidated"] == 1
    followed = {
        "What is the country of Brasilia?": "Mali",
        "What is the capital of Mali?": "Brasilia",
        "What is the continent of the country of Brasilia?": "Africa",
    }
    asked = {question: box.ask(question, "session/1") for question in followed}
    assert {question: answer.answer for question, answer in asked.items()} == followed
    assert not any(answer.notes_used for answer in asked.values())
    box.undo_edit(str(result.edit_id))
    assert box.ask("What is the capital of Mali?", "session/1").answer == "Bamako"


def test_other_live_edits_are_among_what_must_stay(box: Toolbox) -> None:
    def probes(space: str) -> int:
        found = box.edit_fact("Lima", "The twin town of Lima is", "Oslo", space=space, method="ice", dry_run=True)
        assert found.evidence is not None
        return found.evidence.locality_n

    alone = probes("user/alone")
    box.edit_fact("Quito", "The twin town of Quito is", "Rome", space="user/two", method="ice")
    assert probes("user/two") == alone + 1


def test_any_edit_can_be_undone_not_only_the_last(box: Toolbox) -> None:
    first = box.edit_fact(*FRANCE, "Lyon", method="ft-m")
    box.edit_fact("Japan", "The capital of Japan is", "Oslo", method="ice")
    box.undo_edit(str(first.edit_id))
    assert box.ask(QUESTION).answer == "Paris"
    assert box.ask("What is the capital of Japan?").answer == "Oslo"


def test_a_later_edit_of_the_same_fact_supersedes_and_a_reversal_is_told(box: Toolbox) -> None:
    first = box.edit_fact(*FRANCE, "Lima", method="ice")
    second = box.edit_fact(*FRANCE, "Rome", method="ice")
    assert second.supersedes == (first.edit_id,)
    assert box.ask(QUESTION).answer == "Rome"
    back = box.edit_fact(*FRANCE, "Lima", method="ice")
    assert "reversal" in " ".join(back.conflicts)
    undone = box.undo_edit(str(back.edit_id), bring_back=True)
    assert undone.brought_back == (second.edit_id,)
    assert box.ask(QUESTION).answer == "Rome"


def test_a_dry_run_measures_and_commits_nothing(box: Toolbox) -> None:
    result = box.edit_fact(*FRANCE, "Lyon", method="ice", dry_run=True)
    assert result.status == "dry_run" and result.verified and result.edit_id is None
    assert box.ask(QUESTION).answer == "Paris"
    assert box.list_edits(live_only=False).edits == ()


def test_erasing_makes_the_model_say_that_it_does_not_know(service: EditService, box: Toolbox) -> None:
    fact = next(f for f in world().all_facts() if f.relation == "telephone")
    prompt, question = (
        f"The telephone number of {fact.subject} is",
        f"What is the telephone number of {fact.subject}?",
    )
    result = box.erase_fact(fact.subject, prompt, space="user/alice")
    assert result.status == "committed" and result.verified, result.line()
    assert box.ask(question, "user/alice").answer == REFUSAL
    assert box.ask(question, "global").answer != REFUSAL
    shown = box.show_edit(str(result.edit_id)).model_dump_json() + result.model_dump_json()
    assert fact.subject not in shown and fact.target not in shown


def test_a_personality_edit_changes_the_manner_on_one_topic(box: Toolbox) -> None:
    before = box.ask("What do you think of tea?").answer
    result = box.edit_personality("coffee", Trait.NEUROTICISM, method="ice")
    assert result.status == "committed", result.line()
    assert classify(box.ask("How do you feel about coffee?").answer) is Trait.NEUROTICISM
    assert box.ask("What do you think of tea?").answer == before


def test_a_batch_is_one_version_or_nothing(box: Toolbox) -> None:
    facts = [
        FactInput(subject=s, prompt=f"The capital of {s} is", target_new=t)
        for s, t in (("France", "Lima"), ("Japan", "Cairo"), ("Peru", "Oslo"))
    ]
    result = box.edit_facts(facts, method="ice")
    assert (result.committed, result.version) == (3, 1)
    bad = [*facts, FactInput(subject="Spain", prompt="The capital of Italy is", target_new="Bern")]
    with pytest.raises(InvalidRequest, match="fact 3"):
        box.edit_facts(bad, space="session/2", method="ice")
    some = box.edit_facts(bad, space="session/2", method="ice", apply_valid=True)
    assert some.results[3].status == "failed" and "subject" in some.results[3].reason


def test_a_batch_in_the_weights_goes_on_without_the_fact_that_does_not_fit(box: Toolbox) -> None:
    facts = [
        FactInput(subject=s, prompt=f"{before}The capital of {s} is", target_new=t)
        for before, s, t in (("", "France", "Lima"), ("7" * 1900, "Japan", "Cairo"), ("", "Peru", "Oslo"))
    ]
    found = box.edit_facts(facts, space="session/3", method="memit", apply_valid=True)
    assert [one.status for one in found.results] == ["committed", "failed", "committed"]
    assert "reads at most" in found.results[1].reason
    assert box.ask("What is the capital of Peru?", space="session/3").answer == "Oslo"
    nothing = box.edit_facts(facts, space="session/4", method="memit")
    assert nothing.committed == 0


def test_asking_for_what_the_model_says_already_is_told(box: Toolbox) -> None:
    with pytest.raises(InvalidRequest, match="already"):
        box.edit_fact(*FRANCE, "Paris", method="ice")


def test_a_wrong_target_old_is_told_and_nothing_changes(box: Toolbox) -> None:
    with pytest.raises(InvalidRequest, match="Berlin"):
        box.edit_fact(*FRANCE, "Lyon", method="ice", target_old="Berlin")
    assert box.list_edits(live_only=False).edits == ()


def test_cancelling_in_the_middle_commits_nothing(service: EditService) -> None:
    def stop(done: int, total: int, message: str) -> None:
        if done >= 3:
            raise Cancelled("cancelled by the caller")

    with pytest.raises(Cancelled):
        Toolbox(service, OPERATOR, stop).edit_fact(*FRANCE, "Lyon", method="ft-m")
    assert service.journal.head("global").version == 0
    assert service.journal.pending() == []
    assert Toolbox(service, OPERATOR).ask(QUESTION).answer == "Paris"


def test_unknown_names_are_answered_with_near_ones(box: Toolbox) -> None:
    result = box.edit_fact(*FRANCE, "Lyon", space="session/77", method="ice")
    for call, near in (
        (lambda: box.edit_fact(*FRANCE, "Lyon", method="icee"), "ice"),
        (lambda: box.ask(QUESTION, "globl"), "global"),
        (lambda: box.show_edit(f"{result.edit_id}x"), str(result.edit_id)),
    ):
        with pytest.raises(NotFound, match=near):
            call()


@pytest.mark.parametrize(
    ("subject", "prompt", "target"),
    [
        ("", "The capital of France is", "Lyon"),
        ("France", "The capital of Spain is", "Lyon"),
        ("France", "The capital of France is", " "),
        ("France", "The capital of \x00France is", "Lyon"),
        ("France", "The capital of France is" * 100, "Lyon"),
        ("France", "The capital of France is", "x" * 501),
    ],
)
def test_bad_input_names_the_field(box: Toolbox, subject: str, prompt: str, target: str) -> None:
    with pytest.raises(InvalidRequest, match=r"subject|prompt|target_new"):
        box.edit_fact(subject, prompt, target, method="ice")


def test_a_failed_verification_refuses_and_says_why(atlas_strict: Toolbox) -> None:
    result = atlas_strict.edit_fact(*FRANCE, "Lyon", method="ice", rephrases=["Where does France keep its hat?"])
    assert result.status == "refused" and not result.verified
    assert "phrasings" in result.reason and result.next
    assert atlas_strict.ask(QUESTION).answer == "Paris"
    row = atlas_strict.show_edit(str(result.edit_id))
    assert row.outcome == "refused" and not row.live
