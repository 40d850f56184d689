"""Texts that the journal seals under its secret."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.errors import StorageError
from ketools.journal.secret import seal, unseal

SECRET = secrets.token_bytes(32)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_sealed_text_comes_back_whole(text: str) -> None:
    assert unseal(SECRET, seal(SECRET, text)) == text


def test_equal_texts_have_equal_seals_which_tell_nothing_of_them() -> None:
    assert seal(SECRET, "The address of Ann Lee is") == seal(SECRET, "The address of Ann Lee is")
    assert "Ann" not in seal(SECRET, "The address of Ann Lee is")


@pytest.mark.parametrize("change", [lambda s: s[:-4] + "AAA=", lambda s: "é", lambda s: "", lambda s: s[4:]])
def test_a_changed_seal_is_refused_with_what_to_do(change: object) -> None:
    assert callable(change)
    with pytest.raises(StorageError, match="undo the erasure"):
        unseal(SECRET, change(seal(SECRET, "The address of Ann Lee is")))


def test_another_secret_opens_nothing() -> None:
    with pytest.raises(StorageError, match="another journal"):
        unseal(secrets.token_bytes(32), seal(SECRET, "text"))
