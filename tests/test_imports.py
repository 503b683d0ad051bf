"""The house's order: imports run downward only, room by room, and late imports are commands'."""

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up. A module may import from its own room and from rooms on lower floors.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("files", "progress", "quiet", "registry"),
    ("android_bench",),
    ("config",),
    ("metrics", "audio", "tflite"),
    ("corpora",),
    ("data",),
    ("encoder",),
    ("students",),
    ("distillation",),
    ("speaker",),
    ("runs",),
    ("teachers",),
    ("inference",),
    ("export",),
    ("evaluation",),
    ("pipeline",),
    ("api",),
    ("commands",),
    ("__main__",),
)
STANDARD_LIBRARY_ONLY = ("android_bench", "errors")
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted((ROOT / "ser_kd").rglob("*.py"))


def room_of(module: str) -> str:
    """``ser_kd.audio.logmel`` -> ``audio``; ``ser_kd`` itself -> ``""``."""
    return module.partition(".")[2].partition(".")[0]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def statements(path: Path) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import statement, and whether it stands in a function."""

    def walk(node: ast.AST, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, late
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, late or function)

    return walk(ast.parse(path.read_text(encoding="utf-8")), late=False)


def imported(path: Path) -> set[str]:
    """Modules that a file imports, by their full names."""
    found = set()
    for statement, _ in statements(path):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
            continue
        assert statement.level == 0, f"{path}: relative import"
        # "from package import name": the module is package.name where that is one.
        names = {f"{statement.module}.{alias.name}" for alias in statement.names}
        modules = names & set(MODULES)
        found |= modules
        if len(modules) < len(names):
            found.add(str(statement.module))
    return found


def own(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] == "ser_kd"}


def test_every_room_has_a_floor():
    rooms = {room_of(name) for name in MODULES} - {""}
    assert rooms == {*FLOOR}


@pytest.mark.parametrize("room", FLOOR)
def test_imports_run_downward(room):
    checked = 0
    for name, path in MODULES.items():
        if room_of(name) != room:
            continue
        checked += 1
        for other in own(path):
            # ser_kd itself: its version alone.
            other_room = room_of(other)
            below = other_room in ("", room) or FLOOR.get(other_room, -1) < FLOOR[room]
            assert below, f"{name} imports {other}, which is not on a lower floor"
    assert checked


def test_there_are_no_circles():
    # Importing a package's member runs the package's __init__ first; that edge is no statement.
    graph = {name: imported(path) & set(MODULES) - {name} for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_late_imports_stand_in_commands_alone():
    late = [
        f"{name}:{statement.lineno}"
        for name, path in MODULES.items()
        if room_of(name) not in ("commands", "__main__")
        for statement, in_function in statements(path)
        if in_function
    ]
    assert not late


@pytest.mark.parametrize("room", STANDARD_LIBRARY_ONLY)
def test_rooms_of_the_standard_library(room):
    for name, path in MODULES.items():
        if room_of(name) == room:
            foreign = {module.split(".")[0] for module in imported(path)}
            assert foreign <= set(sys.stdlib_module_names) | {"ser_kd"}, name
            assert {room_of(other) for other in own(path)} <= {room, ""}, name


def test_few_modules_lie_directly_in_the_package():
    assert len(list((ROOT / "ser_kd").glob("*.py"))) <= 8


def test_importing_the_package_is_cheap():
    program = (
        "import sys, ser_kd; print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
