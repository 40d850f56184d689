"""Bearer tokens in a file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ketools.core.errors import InvalidRequest, NotFound, StorageError
from ketools.core.principals import Scope
from ketools.servers.callers import reader
from ketools.servers.tokens import TokenFile


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    """An empty token file."""
    return TokenFile(tmp_path / "home" / "tokens.json")


def test_the_file_holds_no_token_and_only_its_owner_may_read_it(file: TokenFile) -> None:
    token = file.add("alice", ["read", "edit"], ["user/alice"])
    assert token not in file.path.read_text()
    assert token.removeprefix("ket_") not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_token_finds_its_principal_and_another_finds_none(file: TokenFile) -> None:
    token = file.add("alice", ["read", "edit"], ["user/alice"])
    record = file.find(token)
    assert record is not None
    who = record.principal()
    assert who.name == "alice" and who.spaces == ("user/alice",)
    assert who.scopes == {Scope.READ, Scope.EDIT}
    assert file.find(token + "x") is None and file.find("") is None


def test_a_change_by_another_process_is_seen(file: TokenFile) -> None:
    file.add("alice", ["read"], [])
    other = TokenFile(file.path)
    token = other.add("bob", ["read"], [])
    assert file.find(token) is not None
    other.revoke("bob")
    assert file.find(token) is None


def test_revoking_an_unknown_name_lists_the_near_ones(file: TokenFile) -> None:
    file.add("alice", ["read"], [])
    with pytest.raises(NotFound, match="Known: alice"):
        file.revoke("alise")


def test_an_unknown_scope_lists_the_scopes(file: TokenFile) -> None:
    with pytest.raises(InvalidRequest, match="read, edit, erase, admin"):
        file.add("alice", ["write"], [])


@pytest.mark.parametrize("content", ["{", "[]", '{"x": {"name": "a"}}', '{"x": 3}'])
def test_a_broken_file_is_an_error_with_the_next_step(file: TokenFile, content: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(content)
    with pytest.raises(StorageError, match="ketools token new"):
        file.find("ket_x")


def test_a_reader_keeps_what_it_could_read_and_nothing_else(file: TokenFile) -> None:
    file.add("root", ["admin"], [])
    record = next(iter(file.records().values()))
    limited = reader(record.principal())
    assert limited.scopes == {Scope.READ} and limited.owns("user/anyone")
