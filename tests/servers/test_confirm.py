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


def test_a_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ConfirmTokens()
    token = tokens.make("alice", CALL)
    later = time.time() + confirm.LIFETIME + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not tokens.good(token, "alice", CALL)
