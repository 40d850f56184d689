"""An erasure's request holds the secret: the journal must not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ketools.core.errors import StorageError
from ketools.core.evidence import Evidence, ProbeResult
from ketools.core.requests import REFUSAL, EditRequest, Kind, Probe
from ketools.journal import REDACTED, Journal, Outcome, scrub

SECRET = ["Marlow Quint", "12 Fennel Row", "where does marlow live", "Fennel", "the quint address"]


def erasure() -> EditRequest:
    return EditRequest(
        kind=Kind.ERASE,
        subject="Marlow Quint",
        prompt="The address of Marlow Quint is",
        target_new=REFUSAL,
        target_old="12 Fennel Row",
        relation="the quint address",
        rephrases=("where does marlow live",),
        probes=(Probe(prompt="On Fennel Row lives", answer="Marlow Quint"),),
    )


def evidence() -> Evidence:
    leak = ProbeResult(
        prompt="where does marlow live", kind="leak", chat=True, expected=REFUSAL, answer="12 Fennel Row", passed=False
    )
    return Evidence(success=0.5, success_n=2, locality=1, locality_n=4, leak=0.5, failures=(leak,))


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_no_file_of_the_journal_ever_holds_what_is_erased(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    open_edit = EditRequest(subject="Ardovia", prompt="The capital of Ardovia is", target_new="Lyon")
    careless = {"request": erasure().model_dump(mode="json") | {"comment": "Marlow Quint"}}
    for number, request in enumerate((open_edit, erasure())):
        record = journal.new_record(
            "global", request, principal="a", method="ft-m", artefact="0" * 64, base_version=number
        )
        if request.kind is Kind.ERASE:
            record = type(record)(**{name: getattr(record, name) for name in record.__slots__} | careless)
        journal.begin_edit(record)
        ending = Outcome(record.id, "committed", evidence=evidence() if number else None)
        journal.commit("global", number, [record.id], "edit", record.id, [ending])
    refused = journal.new_record("global", erasure(), principal="a", method="ft-m", artefact="0" * 64, base_version=2)
    journal.begin_edit(refused)
    reason = scrub("marlow quint still lives at 12 Fennel Row", erasure())
    journal.close_edit(refused.id, "refused", reason, evidence())
    for _ in ("with the write-ahead log", "without"):
        data = files(tmp_path)
        assert b"Ardovia" in data
        assert [text for text in SECRET if text.lower().encode() in data.lower()] == []
        journal.close()
    journal = Journal(tmp_path / "journal.db")
    found = journal.edit(refused.id)
    assert found.outcome is not None
    assert found.outcome.reason == f"{REDACTED} still lives at {REDACTED}"
    assert found.outcome.evidence is not None
    assert found.outcome.evidence.leak == 0.5
    assert EditRequest.model_validate(found.request).target_new == REFUSAL
    assert found.key_hash == journal.key_hash(erasure().key)
    journal.close()


def test_a_message_about_another_kind_of_edit_is_not_scrubbed() -> None:
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    assert scrub("France refused", request) == "France refused"


def test_the_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.db").close()
    assert stat.S_IMODE((tmp_path / "journal.db.secret").stat().st_mode) == 0o600


def test_a_lost_or_foreign_secret_is_noticed_at_once(tmp_path: Path) -> None:
    secret = tmp_path / "journal.db.secret"
    Journal(tmp_path / "journal.db").close()
    kept = secret.read_bytes()
    secret.unlink()
    with pytest.raises(StorageError, match=r"secret file .* is missing.*backup"):
        Journal(tmp_path / "journal.db")
    secret.write_bytes(bytes(32))
    with pytest.raises(StorageError, match="another journal"):
        Journal(tmp_path / "journal.db")
    secret.write_bytes(b"short")
    with pytest.raises(StorageError, match="damaged"):
        Journal(tmp_path / "journal.db")
    secret.write_bytes(kept)
    Journal(tmp_path / "journal.db").close()


def test_the_secret_may_lie_elsewhere(tmp_path: Path) -> None:
    first = Journal(tmp_path / "a.db", secret_path=tmp_path / "shared")
    second = Journal(tmp_path / "b.db", secret_path=tmp_path / "shared")
    assert first.key_hash("x") == second.key_hash("x")
    first.close()
    second.close()
