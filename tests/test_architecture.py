"""Dependencies point one way; the order below is the one in docs/design.md."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ketools"

ORDER = [
    {"core"},
    {"knowledge", "layers"},
    {"vllm_plugin", "atlas"},
    {"models"},
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
        for target in imported(path)
        if target != part_of(path) and RANK[target] >= RANK.get(part_of(path), 99)
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_bundled_model_depends_on_relations_alone() -> None:
    for path in (PACKAGE / "atlas").rglob("*.py"):
        assert imported(path) <= {"atlas", "knowledge"}, path


def test_no_package_shadows_the_agents_of_other_libraries() -> None:
    assert not (PACKAGE.parent / "agents" / "__init__.py").exists()
    assert not list((PACKAGE.parent / "tests").glob("*/__init__.py"))
