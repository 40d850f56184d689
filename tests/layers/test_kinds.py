"""Kinds of artefacts: each is one file, others are packages, and what no package knows is kept and not served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.requests import EditRequest
from ketools.journal import Journal, Outcome
from ketools.layers.changes import ModuleDelta
from ketools.layers.codebook import Codebook
from ketools.layers.kinds.note import Note
from ketools.layers.registry import forms, kind, objection
from ketools.layers.store import ArtefactStore
from ketools.spaces.layers import LayeredSpaces

FACT = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[LayeredSpaces]:
    journal = Journal(tmp_path / "journal.db")
    yield LayeredSpaces(journal, ArtefactStore(tmp_path / "artefacts"))
    journal.close()


def test_every_built_in_kind_is_found_under_its_form_and_served_everywhere() -> None:
    assert forms() >= {"note", "low_rank", "routed", "dense", "hook"}
    for form in ("note", "low_rank", "routed", "dense", "hook"):
        assert kind(form).form == form
        assert not objection(form, "local") and not objection(form, "vllm")


def test_an_unknown_kind_has_no_class_and_an_objection_that_says_what_to_install() -> None:
    with pytest.raises(NotFound, match="no kind of artefact named 'hologram'"):
        kind("hologram")
    assert "install the plug-in or the newer ketools" in objection("hologram", "local")


def test_a_space_with_an_artefact_of_an_unknown_kind_opens_and_nothing_is_lost(spaces: LayeredSpaces) -> None:
    strange = save({"H:x": torch.ones(2, 2)}, {"ketools": json.dumps({"format": 1, "type": "hologram", "method": "h"})})
    for data, form in ((strange, "hologram"), (None, "note")):
        if data is None:
            name = spaces.store.put(Note("ice", FACT))
        else:
            name, stored = spaces.store.write_soon(data)
            stored.result()
        record = spaces.journal.new_record(
            "global",
            FACT.model_copy(update={"subject": form}),
            principal="alice",
            method="h",
            artefact=name,
            base_version=spaces.journal.head("global").version,
            model="",
            form=form,
        )
        spaces.commit("global", Outcome(spaces.journal.begin_edit(record).id, "committed"))
    odd, known = spaces.live("global")
    assert [edit.edit_id for edit in spaces.layer("global").edits] == [known.id]
    assert "'hologram', which this ketools does not know" in spaces.objection(odd)
    spaces.undo("global", known.id)
    assert [record.id for record in spaces.live("global")] == [odd.id]
    assert spaces.store.read(odd.artefact or "") == strange


def test_codebooks_and_weights_of_one_module_add_up_and_compose_in_any_grouping() -> None:
    book = Codebook(torch.eye(3), torch.ones(3, 2), torch.full((3, 1), 0.1))
    delta = ModuleDelta(a=torch.ones(1, 3), b=torch.ones(2, 1), effects=(book,))
    x, y = torch.eye(3), torch.zeros(3, 2)
    assert torch.equal(delta.apply(x, y), torch.full((3, 2), 2.0))
    assert torch.equal(ModuleDelta(effects=(book,)).matrix(), torch.zeros(2, 3))


def test_an_artefact_of_another_kind_than_its_tensors_is_refused(tmp_path: Path) -> None:
    hook = kind("hook")
    with pytest.raises(InvalidRequest, match="as many values and radii as keys"):
        hook.check({"K:m": torch.ones(2, 3), "V:m": torch.ones(1, 3), "R:m": torch.ones(2, 1)})
