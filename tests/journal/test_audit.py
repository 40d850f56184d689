"""What the audit of a journal tells."""

from __future__ import annotations

from pathlib import Path

from ketools.core.principals import Provenance
from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.journal import Journal, Outcome


def commit(journal: Journal, request: EditRequest, space: str, why: str = "") -> str:
    head = journal.head(space)
    made = journal.begin_edit(
        journal.new_record(
            space,
            request,
            principal="alice",
            method="ice",
            artefact="0" * 64,
            base_version=head.version,
            client="claude 1.0",
            why=why,
        )
    )
    by = Provenance("alice", "claude 1.0")
    journal.commit(space, head.version, [*head.live, made.id], "edit", made.id, [Outcome(made.id, "committed")], by=by)
    return made.id


def test_edits_versions_proposals_and_decisions_are_told_in_order_with_who_and_why(tmp_path: Path) -> None:
    heard: list[str] = []
    journal = Journal(tmp_path / "journal.db", listener=lambda event: heard.append(event["event"]))
    fact = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    edit = commit(journal, fact, "global", "she said so")
    proposal = journal.proposals.add("global", Provenance("bob", "cursor 2"), {"action": "undo"}, "the policy wants it")
    journal.proposals.add("global", Provenance("bob", "cursor 2"), {"action": "undo"}, "the policy wants it")
    journal.proposals.decide(proposal.id, False, Provenance("chief", "", "no"))
    events = journal.audit.events()
    assert [event["event"] for event in events] == ["version", "edit", "version", "proposal", "decision"]
    made = events[1]
    assert (made["edit_id"], made["principal"], made["client"], made["why"], made["outcome"]) == (
        edit,
        "alice",
        "claude 1.0",
        "she said so",
        "committed",
    )
    assert events[2]["live"] == [edit] and events[2]["principal"] == "alice"
    assert (events[4]["principal"], events[4]["why"], events[4]["approved"]) == ("chief", "no", False)
    assert heard == ["version", "proposal", "decision"]
    journal.close()


def test_the_audit_of_an_erasure_holds_nothing_of_what_is_erased(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    prompt = "The address of Ada is"
    erase = EditRequest(kind=Kind.ERASE, subject="Ada", prompt=prompt, target_new=REFUSAL)
    commit(journal, erase, "global", "Ada lives in 12 Elm Street")
    told = repr(journal.audit.events())
    assert "Ada" not in told and "Elm" not in told and "'erase'" in told
    journal.close()


def test_the_audit_can_be_narrowed_to_a_space_and_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.create_space("user/alice")
    fact = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    commit(journal, fact, "global")
    commit(journal, fact, "user/alice")
    later = journal.head("user/alice").created_at
    one = journal.proposals.add("user/alice", Provenance("bob"), {"action": "undo"}, "x")
    journal.proposals.decide(one.id, True, Provenance("chief"))
    events = journal.audit.events("user/alice")
    assert {event.get("space", "user/alice") for event in events} == {"user/alice"}
    assert [e["event"] for e in events] == ["version", "edit", "version", "proposal", "decision"]
    assert [e["event"] for e in journal.audit.events(since=later)] == ["version", "proposal", "decision"]
    journal.close()
