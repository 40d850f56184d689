"""Dependencies point one way; the order below is the one in docs/design.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ketools"

ORDER = [
    {"core"},
    {"knowledge", "layers"},
    {"vllm_plugin"},
    {"models"},
    {"atlas"},
    {"methods", "engines"},
    {"journal"},
    {"spaces"},
    {"retrieval"},
    {"notes"},
    {"editing"},
    {"evaluation"},
    {"profiles", "multihop"},
    {"service"},
    {"tools"},
    {"agents", "servers"},
    {"bench"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "ketools"}
    parts = {name.split(".")[1] for name in found if name.startswith("ketools.")}
    return {part for part in parts if part in RANK or (PACKAGE / part).exists()}


def test_every_part_of_the_package_has_a_place_in_the_order() -> None:
    parts = {part_of(p) for p in PACKAGE.rglob("*.py")} - {"__init__"}
    assert parts <= set(RANK), f"not in the order: {sorted(parts - set(RANK))}"


def test_imports_point_from_later_parts_to_earlier_ones() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports ketools.{target}"
        for path in PACKAGE.rglob("*.py")
        for target in imported(path) - ({"cli"} if path.name == "commands.py" else set())
        if target != part_of(path) and RANK[target] >= RANK.get(part_of(path), 99)
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_bundled_world_depends_on_contracts_alone() -> None:
    for path in (PACKAGE / "atlas").rglob("*.py"):
        allowed = {"atlas", "knowledge", "core", "models"} | ({"cli"} if path.name == "commands.py" else set())
        assert imported(path) <= allowed, path


def test_nothing_imports_the_bundled_world_but_its_benchmarks_and_the_demo() -> None:
    readers = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "atlas" in imported(path)}
    outside = {path for path in readers if path.parts[0] not in ("atlas", "bench")}
    assert outside == {Path("cli/demo.py")}


REMOVED = """
import importlib, pkgutil, sys
import ketools, ketools.core.plugins as loader
real = loader.entry_points
loader.entry_points = lambda group: [p for p in real(group=group) if "ketools.atlas" not in p.value]
sys.modules["ketools.atlas"] = None
for module in pkgutil.walk_packages(ketools.__path__, "ketools."):
    if not module.name.startswith(("ketools.atlas", "ketools.bench", "ketools.cli.demo", "ketools.vllm_plugin")):
        importlib.import_module(module.name)
from ketools.core.errors import ModelError
from ketools.models.bundled import default_background, known_subjects
assert known_subjects("0" * 32) == {} and default_background("0" * 32).source.startswith("prose")
from ketools.service.settings import Settings
assert str(Settings(model=sys.argv[1]).model) == sys.argv[1]
from ketools.cli.main import app
app(["--home", sys.argv[2], "--model", sys.argv[1], "edit", "France", "The capital of France is", "Lyon", "-m", "ice",
     "--dry-run", "--json"])
"""


def test_without_the_bundled_world_everything_else_imports_and_edits(tiny_llama_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", REMOVED, str(tiny_llama_dir), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert '"verified"' in done.stdout, done.stderr


def test_no_package_shadows_the_agents_of_other_libraries() -> None:
    assert not (PACKAGE.parent / "agents" / "__init__.py").exists()
    assert not list((PACKAGE.parent / "tests").glob("*/__init__.py"))
