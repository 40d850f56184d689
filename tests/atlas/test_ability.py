from __future__ import annotations

import json
from pathlib import Path

import pytest

from ketools.atlas import ability


@pytest.mark.parametrize("name", ability.TASKS)
def test_documents_are_different_ones_and_the_same_every_time(name: str) -> None:
    made = ability.documents(name, 40)
    assert made == ability.documents(name, 40)
    assert len({str(one["prompt"]) for one in made}) == 40
    for one in made:
        choices = one.get("choices")
        assert choices is None or (isinstance(choices, list) and len(set(choices)) == 4 and one["answer"] in choices)


@pytest.mark.parametrize("name", ability.TASKS)
def test_no_document_holds_a_name_to_avoid(name: str) -> None:
    avoid = ("Asia", "Maria", "I don't know.")
    made = ability.documents(name, 20, avoid)
    assert len(made) == (0 if name == "unknown" else 20)
    assert not any(word in json.dumps(made, ensure_ascii=False) for word in avoid)


def test_a_folder_holds_a_task_file_and_its_documents_for_each_task(tmp_path: Path) -> None:
    paths = ability.write(tmp_path / "tasks", 3)
    assert len(paths) == 2 * len(ability.TASKS) and all(path.is_file() for path in paths)
    for name in ability.TASKS:
        task = json.loads((tmp_path / "tasks" / f"{name}.yaml").read_text())
        assert task["dataset_kwargs"] == {"data_files": {"test": f"{name}.json"}}
        assert len(json.loads((tmp_path / "tasks" / f"{name}.json").read_text())) == 3
