"""Rooms, floors, arrows and circles of the package: ``python tests/helpers/house.py`` shows them.

A room is a folder or file at the top of the package. An arrow leads from a room to another that it imports: when it is
imported itself, within a function, or by a string (``optional("binning.cpu")``); not for type checkers alone. The floor
of a room is the length of the longest chain of arrows down from it, itself included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import torchmetrics_dna

PACKAGE = Path(torchmetrics_dna.__file__).parent
Needs = dict[str, set[str]]


def imports(path: Path, *, types: bool = True, on_use: bool = True) -> set[str]:
    """Return the imports of a file from the package: full names of modules, and of the names taken from them.

    ``types`` includes imports for type checkers only, and ``on_use`` those within functions.
    """
    names = set()
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), types, on_use):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function, name = ast.unparse(node.func).rpartition(".")[2], node.args[0].value
            if function in ("optional", "require", "import_module"):
                names.add(f"torchmetrics_dna.{name}" if function == "optional" else name)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME":
            names |= {f"torchmetrics_dna.{home}" for home in ast.literal_eval(node.value).values()}
    return {name for name in names if name.split(".")[0] == "torchmetrics_dna"}


def _nodes(tree: ast.AST, types: bool, on_use: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            continue
        if on_use or not isinstance(node, ast.FunctionDef):
            yield node
            yield from _nodes(node, types, on_use)


def room_of(path: Path, package: Path = PACKAGE) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def rooms() -> Needs:
    """Return the other rooms that each room imports."""
    needs: Needs = {}
    for path in PACKAGE.rglob("*.py"):
        imported = {name.split(".")[1] for name in imports(path, types=False) if "." in name}
        needs.setdefault(room_of(path), set()).update(imported - {room_of(path)})
    return needs


def modules(room: str | None = None, *, types: bool = False, on_use: bool = False) -> Needs:
    """Return the other modules that each module imports, of the package or of a room; see :func:`imports`."""
    paths = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]  # which loads lazily
    paths = [path for path in paths if room in (None, room_of(path))]
    names = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}
    return {n: (imports(p, types=types, on_use=on_use) & names.keys()) - {n} for n, p in names.items()}


def floors(needs: Needs) -> tuple[list[set[str]], set[str]]:
    """Return names by floor, from below, and those without a floor, since they are in a circle or above one."""
    by_floor: list[set[str]] = []
    while ready := {name for name, wanted in needs.items() if not wanted}:
        by_floor.append(ready)
        needs = {name: wanted - ready for name, wanted in needs.items() if name not in ready}
    return by_floor, set(needs)


if __name__ == "__main__":
    needs = rooms()
    by_floor, circles = floors(needs)
    arrows = sum(map(len, needs.values()))
    print(f"{len(needs)} rooms on {len(by_floor)} floors, {arrows} arrows; in or above a circle: {len(circles)}")
    for number, names in enumerate(by_floor, 1):
        print(f"{number:2} ", *sorted(names))
