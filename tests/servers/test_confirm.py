"""Confirm tokens: good for the same caller and the same call, for a while."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.servers import confirm
from ketools.servers.confirm import ConfirmTokens

CALL = {"subject": "Ada", "prompt": "The address of Ada is", "space": "global", "dry_run": True}


def test_a_token_confirms_the_same_call_once_it_is_no_dry_run() -> None:
    tokens = ConfirmTokens()
    token = tokens.make("alice", CALL)
    assert tokens.good(token, "alice", {**CALL, "dry_run": False, "confirm_token": token})


@given(st.text(), st.dictionaries(st.sampled_from(["subject", "prompt", "space"]), st.text(min_size=1)))
def test_a_token_confirms_no_other_caller_or_call(caller: str, changed: dict[str, str]) -> None:
    tokens = ConfirmTokens()
    token = tokens.make("alice", CALL)
    call = {**CALL, **changed}
    assert tokens.good(token, caller, call) == (caller == "alice" and call == CALL)


@given(st.text(max_size=80))
def test_no_invented_token_confirms(token: str) -> None:
    assert not ConfirmTokens().good(token, "alice", CALL)


def test_a_token_expires_whatever_the_time_of_day_is_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    tokens = ConfirmTokens(clock=lambda: now[0])
    token = tokens.make("alice", CALL)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    now[0] += confirm.LIFETIME + 1
    assert not tokens.good(token, "alice", CALL)


def test_a_token_is_good_once_and_the_next_dry_run_gives_another() -> None:
    tokens = ConfirmTokens()
    first, second = tokens.make("alice", CALL), tokens.make("alice", CALL)
    assert first != second
    assert tokens.good(first, "alice", CALL) and not tokens.good(first, "alice", CALL)
    assert tokens.good(second, "alice", CALL)


def test_a_refused_use_by_somebody_else_does_not_spend_a_token() -> None:
    tokens = ConfirmTokens()
    token = tokens.make("alice", CALL)
    assert not tokens.good(token, "bob", CALL)
    assert tokens.good(token, "alice", CALL)
