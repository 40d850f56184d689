"""One corrupt artefact: lists and other edits go on, an undo says what it did, and clients hear of no folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ketools.core.errors import StorageError
from ketools.core.principals import OPERATOR
from ketools.models.editable import EditableModel
from ketools.service.opening import open_service
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox

SPACE = "user/a"
DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:40]),
    "other bytes": lambda file: file.write_bytes(bytes(len(file.read_bytes()))),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("method", ["ice", "rome"])
def test_everything_but_what_is_served_from_a_corrupt_artefact_goes_on(
    atlas: EditableModel, tmp_path: Path, how: str, method: str
) -> None:
    opened = open_service(Settings(home=tmp_path, consolidate=False), atlas)
    box = Toolbox(opened, OPERATOR)
    broken = box.edit_fact("France", "The capital of France is", "Lyon", SPACE, method=method)
    other = box.edit_fact("Italy", "The capital of Italy is", "Milan", SPACE, method="ice")
    (artefact,) = (record.artefact for record in opened.journal.records([str(broken.edit_id)]))
    opened.close()
    DAMAGE[how](tmp_path / "artefacts" / str(artefact)[:2] / f"{artefact}.safetensors")

    opened = open_service(Settings(home=tmp_path, consolidate=False), atlas)  # nothing is cached
    box = Toolbox(opened, OPERATOR)
    assert [edit.edit_id for edit in box.list_edits(SPACE).edits] == [other.edit_id, broken.edit_id]
    assert [space.name for space in box.list_spaces().spaces] == ["global", SPACE]
    assert box.show_edit(str(broken.edit_id)).live
    with pytest.raises(StorageError) as refused:
        box.ask("What is the capital of France?", SPACE)
    assert str(tmp_path) not in refused.value.told()
    job = opened.evaluation.space(OPERATOR, SPACE, wait=True)
    assert job.state == "failed" and str(tmp_path) not in job.message

    undone = box.undo_edit(str(other.edit_id))
    assert undone.version == 3 and "It is done" in undone.next and str(tmp_path) not in undone.next
    assert box.undo_edit(str(broken.edit_id)).next == ""
    assert box.ask("What is the capital of France?", SPACE).answer == "Paris"
    opened.close()
