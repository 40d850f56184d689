"""Names of spaces and the patterns that grant them: a pattern never reaches further than it says."""

from __future__ import annotations

import pytest

from ketools.core.errors import Forbidden, InvalidRequest
from ketools.core.principals import OPERATOR, Scope, principal
from ketools.core.space_names import matches, parent_of


@pytest.mark.parametrize(
    ("pattern", "granted", "not_granted"),
    [
        ("session/*", ["session/42", "session/a.b"], ["session/bob/1", "session", "user/42"]),
        ("session/alice/*", ["session/alice/1"], ["session/alice/1/2", "session/alicia/1", "session/alice"]),
        ("user/carol*", ["user/carol", "user/carol2"], ["user/carol/x", "user/caro"]),
        ("user/ali?e", ["user/alice"], ["user/ali/e", "user/alie"]),
        ("team/**", ["team/a", "team/a/b"], ["team", "teams/a"]),
        ("user/[ab]", ["user/[ab]"], ["user/a", "user/b"]),
        ("user/a.c", ["user/a.c"], ["user/abc"]),
        ("", [], ["global", "user/alice"]),
    ],
)
def test_a_star_stops_at_a_slash_and_all_else_is_literal(
    pattern: str, granted: list[str], not_granted: list[str]
) -> None:
    assert [name for name in granted if not matches(name, pattern)] == []
    assert [name for name in not_granted if matches(name, pattern)] == []


@pytest.mark.parametrize(
    "pattern", ["session/*", "session/*/*", "session/**", "session/b*/*", "session/?ob/*", "*/bob/x"]
)
def test_no_wildcard_reaches_a_session_that_shows_somebody_elses_space(pattern: str) -> None:
    mallory = principal("mallory", ["read", "edit"], [pattern, "user/mallory"])
    assert not mallory.owns("session/bob/x")
    with pytest.raises(Forbidden, match="is not mallory's"):
        mallory.require(Scope.READ, "session/bob/x")


@pytest.mark.parametrize("spaces", [["session/bob/*"], ["session/*/*", "user/*"], ["**"], ["session/bob/x"]])
def test_who_was_given_the_owner_by_name_or_the_owners_space_reads_its_sessions(spaces: list[str]) -> None:
    assert principal("agent", ["read"], spaces).owns("session/bob/x")


@pytest.mark.parametrize(
    "name", ["user/Alice", "user/alice/", "user//alice", "user/\0x", "", "/", "user/..", " user/alice", "USER/alice",
             "user/ålice", "user/alice\n", "global/", "a" * 121, "user/*", "session/.", "user\\alice"]
)  # fmt: skip
@pytest.mark.parametrize("scope", [Scope.READ, Scope.EDIT])
def test_what_is_no_name_of_a_space_is_refused_before_anything_else(name: str, scope: Scope) -> None:
    for who in (OPERATOR, principal("alice", [], ["**"])):
        with pytest.raises(InvalidRequest, match="is not a space name"):
            who.require(scope, name)


def test_parents_by_name() -> None:
    found = {name: parent_of(name) for name in ("session/alice/42", "session/42", "user/alice", "team/a", "global")}
    assert found.pop("session/alice/42") == "user/alice"
    assert set(found.values()) == {"global"}


def test_a_missing_scope_is_named_as_a_person_writes_it() -> None:
    with pytest.raises(Forbidden, match="lacks the scope 'erase'; ask the operator"):
        principal("alice", ["read"], ["user/alice"]).require(Scope.ERASE, "user/alice")
