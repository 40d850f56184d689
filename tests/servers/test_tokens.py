"""Bearer tokens in a file."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


ADD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ketools.servers.tokens import TokenFile
path, who = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
names = [f"{who}-{i}" for i in range(5)]
with ThreadPoolExecutor(5) as pool:
    print(*pool.map(lambda name: TokenFile(path).add(name, ["read"], []), names))
"""


@contextmanager
def adders(path: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that will each add five tokens at once when they are sent a line, and print them."""
    command = [sys.executable, "-c", ADD, str(path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, f"p{i}"], **pipes) for i in range(count)]
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield running
    for process in running:
        assert process.wait(60) == 0


def test_forty_additions_at_once_by_eight_processes_are_all_kept(file: TokenFile) -> None:
    with adders(file.path, 8) as running:
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate()[0].split() for process in running]
    tokens = [token for line in printed for token in line]
    assert len(set(tokens)) == 40
    assert all(file.find(token) for token in tokens)


def test_a_token_revoked_while_others_are_added_never_comes_back(file: TokenFile) -> None:
    lost = [file.add(f"mallory{i}", ["read"], []) for i in range(20)]
    with adders(file.path, 4) as running:
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for i in range(20):
            file.revoke(f"mallory{i}")
        for process in running:
            process.communicate()
    assert [token for token in lost if TokenFile(file.path).find(token)] == []
    assert len(file.records()) == 20


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"null", b'{"a": null}'])
def test_bytes_that_are_no_token_file_are_an_error_with_the_next_step(file: TokenFile, content: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    for use in (lambda: file.find("x"), lambda: file.add("a", ["read"], []), lambda: file.revoke("a")):
        with pytest.raises(StorageError, match="Repair it, or remove it"):
            use()
    assert file.path.read_bytes() == content


def test_a_folder_or_a_file_in_the_way_is_an_error_and_no_traceback(file: TokenFile) -> None:
    file.path.mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be read"):
        file.find("x")
    blocked = TokenFile(file.path.parent / "file" / "tokens.json")
    blocked.path.parent.touch()
    with pytest.raises(StorageError):
        blocked.records()
    with pytest.raises(StorageError):
        blocked.add("a", ["read"], [])
