"""An edit belongs to the model that it was made for; a home of an earlier release opens and answers the same."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ketools.atlas import weights_path
from ketools.core.errors import InvalidRequest
from ketools.core.principals import OPERATOR
from ketools.methods.profile import load_profile, store_profile
from ketools.models.editable import EditableModel
from ketools.models.identity import ModelIdentity
from ketools.models.loading import load_editable
from ketools.service.opening import open_service
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox

OLD = Path(__file__).parent / "data" / "home_5e1fd7e"
FRANCE = ("France", "The capital of France is", "Lyon")
QUESTION = "What is the capital of France?"


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """A home that commit 5e1fd7e wrote: a note, edits by ROME, MELO and FT-M, a consolidated note, an undone one."""
    home = tmp_path / "old"
    shutil.copytree(OLD / "artefacts", home / "artefacts")
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        connection.executescript((OLD / "journal.sql").read_text())
    (home / "journal.db.secret").write_bytes(bytes.fromhex((OLD / "journal.db.secret.hex").read_text()))
    return home


@pytest.fixture(scope="module")
def cousin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with other weights, so little other that it knows the same."""
    folder = tmp_path_factory.mktemp("cousin") / "cousin"
    shutil.copytree(weights_path(), folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if "down_proj" in name)
    weights[name] = weights[name] * 1.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def tools(atlas: EditableModel, cousin: Path, tmp_path: Path) -> Iterator[Callable[..., Toolbox]]:
    """Opens the tools of a home on the bundled model or on another one."""
    opened = []

    def open_tools(home: Path, model: Path | None = None) -> Toolbox:
        settings = Settings(home=home, model=model or weights_path(), consolidate=False)
        opened.append(open_service(settings, None if model else atlas))
        return Toolbox(opened[-1], OPERATOR)

    yield open_tools
    for service in opened:
        service.close()


def calibrate(home: Path, model: Path) -> None:
    """Give a model the bundled one's configurations, as calibration would."""
    known = load_profile(ModelIdentity(weights_path()).hash, home / "profiles")
    assert known is not None
    store_profile(known.model_copy(update={"model_hash": ModelIdentity(model).hash}), home / "profiles")


def wait(box: Toolbox, space: str) -> dict[str, Any]:
    job = box.service.edits.rebase(OPERATOR, space, wait=True)
    assert job.state == "done", job.line()
    return job.result


def test_an_old_home_answers_the_same_bit_for_bit(old_home: Path, tools: Callable[..., Toolbox]) -> None:
    box, told = tools(old_home), json.loads((OLD / "answers.json").read_text())
    torch.set_num_threads(1)
    for row in told["answers"]:
        found = box.ask(row["question"], row["space"], fingerprint=True)
        said = {"question": row["question"], **found.model_dump(mode="json", include=row.keys())}
        assert said | {"version": 0} == row | {"version": 0}
    spaces = {space["name"]: space for space in told["spaces"]}
    for space in box.list_spaces().spaces:
        assert (space.live, space.layer_hash) == (spaces[space.name]["live"], spaces[space.name]["layer_hash"])
    undone = box.undo_edit(told["edits"]["auto"])  # by the note's id, which was consolidated
    assert undone.space == "user/bob" and box.ask("What is the capital of Brazil?", "user/bob").answer != "Oslo"


def test_an_old_edit_that_does_not_fit_another_model_is_not_served_and_its_notes_carry_over(
    old_home: Path, tools: Callable[..., Toolbox], tiny_llama_dir: Path
) -> None:
    box = tools(old_home, tiny_llama_dir)
    rows = {row.method: row for row in box.list_edits("user/alice").edits}
    assert {method for method, row in rows.items() if row.not_served} == {"melo", "ft-m"}
    assert "other sizes" in rows["melo"].not_served and "not served" in rows["melo"].line()
    layer, _ = box.service.asking.layer(OPERATOR, "user/alice")
    assert [edit.edit_id for edit in layer.edits] == [rows["ice"].edit_id]
    assert box.ask("What is the capital of Japan?", "user/alice", max_new_tokens=4).notes_used == (rows["ice"].edit_id,)


def test_an_edit_is_computed_anew_for_another_model_and_keeps_its_id(
    tools: Callable[..., Toolbox], cousin: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    first = tools(home)
    made = [
        str(first.edit_fact(*FRANCE, method=method, space=space).edit_id)
        for method, space in (("ft-m", "user/a"), ("ice", "user/b"))
    ]
    said = first.ask(QUESTION, "user/a", fingerprint=True)

    calibrate(home, cousin)
    second = tools(home, cousin)
    (row,) = second.list_edits("user/a").edits
    assert row.live and "another model" in row.not_served and "ketools rebase user/a" in row.not_served
    assert second.ask(QUESTION, "user/a").answer == "Paris" and second.ask(QUESTION, "user/b").answer == "Lyon"
    with pytest.raises(InvalidRequest, match="not served"):
        second.evaluate_edit(made[0])
    assert made[0] in second.evaluate_space("user/a", wait=True).result["not_served"]

    found = wait(second, "user/a")
    assert (found["rebased"], found["edits"], found["kept"]) == (1, made[:1], {})
    (row,) = second.list_edits("user/a").edits
    assert (row.edit_id, row.not_served) == (made[0], "") and row.evidence is not None and row.evidence.direct
    assert second.ask(QUESTION, "user/a").answer == "Lyon" and second.evaluate_edit(made[0]).verified
    assert wait(second, "user/a")["rebased"] == 0

    assert first.ask(QUESTION, "user/a", fingerprint=True).fingerprint == said.fingerprint
    second.undo_edit(made[0])
    assert first.ask(QUESTION, "user/a").answer == second.ask(QUESTION, "user/a").answer == "Paris"


def test_a_sealed_erasure_is_computed_anew_for_another_model(
    tools: Callable[..., Toolbox], cousin: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    erased = tools(home).erase_fact(*FRANCE[:2], method="routed", space="user/a")
    assert (erased.status, erased.verified) == ("committed", True)

    second = tools(home, cousin)
    assert second.ask(QUESTION, "user/a").answer == "Paris"
    assert wait(second, "user/a")["edits"] == [erased.edit_id]
    assert second.ask(QUESTION, "user/a").answer == "I don't know."
    second.undo_edit(str(erased.edit_id))
    assert second.ask(QUESTION, "user/a").answer == "Paris"


def test_what_cannot_be_computed_anew_is_told_and_stays(
    old_home: Path, tools: Callable[..., Toolbox], tiny_llama_dir: Path
) -> None:
    box = tools(old_home, tiny_llama_dir)
    found = wait(box, "user/alice")
    assert found["rebased"] == 0 and len(found["kept"]) == 2
    assert any("erase the fact again" in why for why in found["kept"].values())
    assert len(box.list_edits("user/alice").edits) == 3


def test_a_hash_is_remembered_until_the_directory_changes(cousin: Path, tmp_path: Path) -> None:
    folder, memory = tmp_path / "model", tmp_path / "cache" / "hashes.json"
    shutil.copytree(cousin, folder)
    found = ModelIdentity(folder, memory).hash
    assert found == ModelIdentity(folder).hash == load_editable(folder).model_hash
    memory.write_text(memory.read_text().replace(found, "0" * 32))
    assert ModelIdentity(folder, memory).hash == "0" * 32, "it was not read again"
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert ModelIdentity(folder, memory).hash not in (found, "0" * 32)
