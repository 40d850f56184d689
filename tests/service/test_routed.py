"""An edit that only its own queries switch on, from the tool to the served model and back."""

from __future__ import annotations

import pytest

from ketools.tools.toolbox import Toolbox

FACT = ("Switzerland", "The currency of Switzerland is the", "baht")
OTHER = "What is the capital of Switzerland?"


@pytest.mark.parametrize("method", ["melo", "rase"])
def test_a_routed_edit_is_known_in_its_space_and_other_questions_keep_every_bit(box: Toolbox, method: str) -> None:
    space = f"session/{method}"
    before = {q: box.ask(q, space, fingerprint=True) for q in (OTHER, "What is the currency of Japan?")}
    known = box.ask("What is the currency of Switzerland?", space, fingerprint=True)
    made = box.edit_fact(*FACT, space, method)
    assert made.verified and made.evidence is not None and made.evidence.success == 1.0
    assert box.ask("What is the currency of Switzerland?", space).answer == "baht"
    assert {q: box.ask(q, space, fingerprint=True).fingerprint for q in before} == {
        q: answer.fingerprint for q, answer in before.items()
    }
    box.undo_edit(made.edit_id or "")
    assert box.ask("What is the currency of Switzerland?", space, fingerprint=True).fingerprint == known.fingerprint
