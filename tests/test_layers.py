"""Who may import whom: rooms in one order, no circles between files, nothing too large.

The imports are read from the source, those within functions and those for the type checker among them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import spinsim
from spinsim.lab.fingerprint import result_files

ROOT = Path(spinsim.__file__).parent

# A room imports from those before it, never from those after it.
ORDER = (
    "errors",
    "files",
    "user_cache",
    "progress",
    "registry",
    "operations",
    "buckets",
    "packings",
    "recording",
    "scenario",
    "engines",
    "workload",
    "costs",
    "acceptance",
    "drafters",
    "policies",
    "catalogue",
    "scenario_file",
    "runner",
    "family",
    "engine",
    "serving",
    "native",
    "simulated",
    "live",
    "results",
    "profiling",
    "lab",
    "starting",
    "studies",
    "bundles",
    "pages",
    "api",
    "cli",
    "__main__",
)
# ``from spinsim import api`` and ``spinsim.simulate`` are the public door: the package looks up lazily.
DOOR = "spinsim"
LARGEST_ROOM = 0.15  # of the package's lines
LONGEST_FILE = 400  # lines


@dataclass(frozen=True)
class Import:
    """``importer`` needs ``imported``; ``when``: at once, in a function, or for the type checker."""

    importer: str
    imported: str
    when: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported} ({self.when})"


def modules(root: Path, package: str) -> dict[str, Path]:
    """Every file under ``root`` by its dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join((package, *name))] = path
    return found


def imports(known: Mapping[str, Path], package: str) -> list[Import]:
    """Every import of one file of the package by another."""
    return [
        Import(name, target, when, line)
        for name, path in known.items()
        for target, when, line in _imports(ast.parse(path.read_text(encoding="utf-8")), known, package)
        if target not in (name, package)
    ]


def _imports(
    node: ast.AST, known: Mapping[str, Path], package: str, when: str = "at once"
) -> Iterator[tuple[str, str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: the package imports by full names"
            names = [f"{child.module}.{alias.name}" for alias in child.names]
        elif isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        else:
            inner = when
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inner = "in a function"
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inner = "for types"
            yield from _imports(child, known, package, inner)
            continue
        for name in names:
            if name.split(".")[0] == package:
                while name not in known:  # a name within a file
                    name = name.rpartition(".")[0]
                yield name, when, child.lineno


def circle(found: list[Import]) -> list[str]:
    """A circle between files, if there is one: each imports the one before it."""
    needs: dict[str, set[str]] = {}
    for one in found:
        needs.setdefault(one.importer, set()).add(one.imported)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def upward(found: list[Import]) -> list[str]:
    """Imports of a room by one that stands before it in ``ORDER``."""
    rank = {room: i for i, room in enumerate(ORDER)}
    return [
        str(one)
        for one in found
        if one.importer != DOOR and rank[room_of(one.importer)] < rank[room_of(one.imported)]
    ]


def room_of(module: str) -> str:
    """The folder, or the file beside the folders, that a module is in."""
    return module.split(".")[1]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


MODULES = modules(ROOT, "spinsim")
IMPORTS = imports(MODULES, "spinsim")


def test_every_room_has_its_place() -> None:
    rooms = {room_of(module) for module in MODULES if module != DOOR}
    assert rooms <= set(ORDER)


def test_no_circles_between_files() -> None:
    assert circle(IMPORTS) == []


def test_imports_point_down() -> None:
    assert upward(IMPORTS) == []


@pytest.mark.parametrize("when", ["at once", "in a function", "for types"])
def test_imports_of_every_kind_are_seen(when: str) -> None:
    """Else the two tests above would pass for want of anything to look at."""
    assert sum(one.when == when for one in IMPORTS) > 20


def test_a_cell_depends_on_all_that_its_simulation_imports() -> None:
    """Else a change there would leave cells of an interrupted study as they were."""
    needs: dict[str, set[str]] = {}
    for one in IMPORTS:
        if one.when == "at once":
            needs.setdefault(one.importer, set()).add(one.imported)
    reached, left = set(), ["spinsim.simulated.simulation", "spinsim.results.publish", "spinsim.lab.cell"]
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += needs.get(module, ())
    counted = set(result_files(ROOT))
    # Of no result: how far work is, and the digest itself.
    reached -= {"spinsim.progress", "spinsim.lab.fingerprint"}
    assert {module for module in reached if MODULES[module] not in counted} == set()


def test_no_room_and_no_file_is_too_large() -> None:
    rooms: dict[str, int] = {}
    for module, path in MODULES.items():
        if module != DOOR:
            rooms[room_of(module)] = rooms.get(room_of(module), 0) + lines(path)
    total = sum(rooms.values())
    assert {room: n for room, n in rooms.items() if n > LARGEST_ROOM * total} == {}
    assert [name for name, path in MODULES.items() if lines(path) > LONGEST_FILE] == []


def test_a_circle_and_an_upward_import_are_found(tmp_path: Path) -> None:
    """Through a function and through a type, neither of which an import at run time would show."""
    for name, text in {
        "__init__": "",
        "costs/__init__": "",
        "costs/base": "def f():\n    from house.costs.law import law\n",
        "costs/law": "if TYPE_CHECKING:\n    from house.costs import base\n",
        "engine/__init__": "import house.pages.run\n",
        "pages/__init__": "",
        "pages/run": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    found = imports(modules(tmp_path, "house"), "house")
    assert set(circle(found)) == {"house.costs.base", "house.costs.law"}
    assert upward(found) == ["house.engine:1 imports house.pages.run (at once)"]
    assert [one.when for one in found] == ["in a function", "for types", "at once"]
