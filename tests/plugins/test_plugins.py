"""Third-party packages: real ones, installed by pip and found by their entry points; none edits a file of ketools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ROOT / "tests" / "plugins"

USE = """
from pathlib import Path
from ketools.core.requests import EditRequest
from ketools.editing.editor import Editor
from ketools.layers.composition import BASE
request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
(note,) = Editor(Path("nowhere")).compute("shout", [request], BASE, {"marks": 2})
print(note.method, note.request.target_new)
"""


def installed(package: str, folder: Path) -> Path:
    """Install a copy of a package with pip, without its dependencies and without the network."""
    source, into = folder / "source", folder / "site"
    shutil.copytree(PACKAGES / package, source)  # building leaves files behind
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--target", str(into), str(source)]
    subprocess.run([*command, *options], check=True, capture_output=True, timeout=500)
    return into


def run(code: str, site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


def test_an_installed_third_party_method_computes_an_edit(tmp_path: Path) -> None:
    result = run(USE, installed("shout", tmp_path))
    assert result.stdout.strip() == "shout LIMA!!", result.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("METHOD = 3", "is not a ketools Method"),
        ("from ketools.methods.ice import METHOD", "Two methods are named 'ice'"),
    ],
)
def test_a_broken_third_party_method_fails_loudly_by_name(tmp_path: Path, code: str, message: str) -> None:
    site = tmp_path / "site"
    (site / "shout-0.1.dist-info").mkdir(parents=True)
    (site / "shout-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: shout\nVersion: 0.1\n")
    (site / "shout-0.1.dist-info" / "entry_points.txt").write_text("[ketools.methods]\nloud = broken_shout:METHOD\n")
    (site / "broken_shout.py").write_text(code + "\n")
    result = run("from ketools.methods.registry import methods; methods()", site)
    assert result.returncode == 1
    assert "BrokenPlugin" in result.stderr
    assert message in result.stderr


SERVICE = """
import json, sys
from ketools.core.principals import OPERATOR
from ketools.service.opening import open_service
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox
service = open_service(Settings(home=sys.argv[1], model="atlas", min_success=0, min_locality=0))
box, prompt, space = Toolbox(service, OPERATOR), "The capital of France is", "user/a"
def says(): return box.ask(prompt, space, chat=False, fingerprint=True).fingerprint
def told(): return [edit.not_served for edit in box.list_edits(space).edits]
"""
REPLACE = """
from ketools.layers.registry import objection
before = says()
made = box.edit_fact("France", prompt, "Lima", space, "block-values")
one = says()
other = box.edit_fact("Peru", "The capital of Peru is", "Paris", space, "block-values")
both = box.ask("The capital of Peru is", space, chat=False).answer
box.undo_edit(other.edit_id)
print(json.dumps({"before": before, "one": one, "again": says(), "both": both,
    "answer": box.ask(prompt, space, chat=False).answer, "told": told(), "vllm": objection("block_values", "vllm")}))
"""
LOOK = "print(json.dumps({'now': says(), 'told': told()}))"


def served(code: str, site: Path, folder: Path) -> dict[str, Any]:
    """What the code prints of a service on the bundled model, its home in the folder."""
    result = run(SERVICE + code, site, folder / "home")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_a_third_party_kind_replaces_a_blocks_output_and_without_its_package_is_not_served(tmp_path: Path) -> None:
    site = installed("block_values", tmp_path)
    made = served(REPLACE, site, tmp_path)
    assert made["answer"].startswith("Lima") and made["both"].startswith("Paris")
    assert made["before"] != made["one"] == made["again"]
    assert made["told"] == [""] and "vLLM cannot serve artefacts of the kind 'block_values'" in made["vllm"]
    without = served(LOOK, tmp_path / "nothing", tmp_path)
    assert without["now"] == made["before"]
    assert "kind 'block_values', which this ketools does not know: install the plug-in" in without["told"][0]
    assert served(LOOK, site, tmp_path) == {"now": made["one"], "told": [""]}


PREPARED = """
from pathlib import Path
from ketools.cli.evaluating import ByMethod
from ketools.methods.registry import get_method
made = box.edit_fact("France", prompt, "Lima", space, "directions")
method = get_method("directions")
(kept,) = (Path(sys.argv[1]) / "cache" / "prepared").iterdir()
print(json.dumps({"answer": box.ask(prompt, space, chat=False).answer, "kept": kept.stem, "at": kept.stat().st_mtime_ns,
    "recorded": service.backend.journal.edit(made.edit_id).prepared,
    "labels": [ByMethod(service, "directions", c).label for c in (None, None, method.config(ridge=0.5))]}))
box.undo_edit(made.edit_id)
"""


def test_what_a_third_party_method_prepares_is_kept_found_again_and_named_in_the_journal(tmp_path: Path) -> None:
    site = installed("directions", tmp_path)
    first, second = (served(PREPARED, site, tmp_path) for _ in range(2))
    assert first["answer"].startswith("Lima")
    assert first["kept"] == first["recorded"] == second["recorded"]
    assert first["at"] == second["at"], "found again, not prepared again"
    assert first["labels"][0] == first["labels"][1] != first["labels"][2]


GERMAN = """
import json
from ketools.core.requests import EditRequest
from ketools.knowledge.probing import Prober, with_relation
from ketools.knowledge.relations import RELATIONS
from ketools.layers.kinds.note import Note
from ketools.models.bundled import known_subjects
from ketools.notes import NoteBook
request = with_relation(
    EditRequest(subject="Österreich", prompt="Die Hauptstadt von Österreich ist", target_new="Graz"))
english = with_relation(EditRequest(subject="Austria", prompt="The capital of Austria is", target_new="Graz"))
prober, book = Prober(known_subjects("0" * 32)), NoteBook([("note", Note("ice", request))])
asked = ["Wie heißt die Hauptstadt von Österreich?", "Womit bezahlt man in Österreich?", "Wo liegt Österreich?",
    "Wie heißt die Hauptstadt von Polen?"]
print(json.dumps({"relation": request.relation, "english": english.relation, "known": sorted(RELATIONS)[-1],
    "phrasings": [one.prompt for one in prober.phrasings(request)],
    "locality": [[one.kind, one.prompt] for one in prober.locality(request)],
    "unrelated": [one.prompt for one in prober.locality(english) if one.kind == "unrelated"],
    "scope": [[hit.edit_id for hit in book.in_scope(text)] for text in asked]}))
"""


def test_a_third_party_provider_brings_relations_in_another_language(tmp_path: Path) -> None:
    result = run(GERMAN, installed("german", tmp_path))
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["relation"], told["english"]) == ("hauptstadt", "capital")
    assert "Wie heißt die Hauptstadt von Österreich?" in told["phrasings"]
    kinds = [kind for kind, _ in told["locality"]]
    assert kinds.count("neighbour") >= 4 and "same_subject" in kinds
    assert ["same_subject", "Was ist die Währung von Österreich?"] in told["locality"]
    assert told["unrelated"] and not any("Währung" in text or "Hauptstadt" in text for text in told["unrelated"])
    assert told["scope"] == [["note"], [], [], []]
