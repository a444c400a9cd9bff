"""Defaults of public functions and commands are promises: those of the record, until the changelog says otherwise."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import recorded
import typer

from torchmetrics_dna.cli import app

ROOT = Path(__file__).parents[1]


def _public() -> Iterator[tuple[str, Any]]:
    """Yield each function, class and method that the pages of the interface show."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "api").glob("*.rst")))
    shown = dict[str, Any]()
    for module_name in ["torchmetrics_dna", *re.findall(r"automodule:: (\S+)", pages)]:
        module = importlib.import_module(module_name)
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module_name]
        listed = sorted(getattr(module, "__all__", own))
        shown |= {f"{module_name}.{name}": getattr(module, name) for name in listed if not name.startswith("_")}
    for name in re.findall(r"auto(?:class|function):: (torchmetrics_dna\.\S+)", pages):
        shown[name] = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    for name, value in shown.items():
        yield name, value
        for method_name, method in inspect.getmembers(value, callable) if inspect.isclass(value) else ():
            own_method = (getattr(method, "__module__", None) or "").startswith("torchmetrics_dna")
            if own_method and not method_name.startswith("_"):
                yield method.__qualname__, method


def _defaults() -> Iterator[str]:
    for name, value in _public():
        if callable(value):
            parameters = inspect.signature(value).parameters.values()
            given = [f"{each.name}={each.default!r}" for each in parameters if each.default is not each.empty]
            if given:
                yield f"{name}: {', '.join(given)}"
        if inspect.isclass(value):
            own = {
                key for owner in value.__mro__ if owner.__module__.startswith("torchmetrics_dna") for key in vars(owner)
            }
            fixed = {key: getattr(value, key) for key in sorted(own) if not key.startswith("_")}
            plain = [f"{key}={each!r}" for key, each in fixed.items() if isinstance(each, bool | int | float)]
            if plain:
                yield f"{name}, of the class: {', '.join(plain)}"
    for name, command in sorted(typer.main.get_command(app).commands.items()):
        given = [f"{each.name}={each.default!r}" for each in command.params if each.default not in (None, (), [])]
        yield f"command {name}: {', '.join(given)}"
        rare = [each.name or "" for each in command.params if getattr(each, "hidden", False)]
        yield f"command {name}, rare: {', '.join(rare)}"


def test_defaults_are_those_of_the_record() -> None:
    lines = (re.sub(r" at 0x[0-9a-f]+|(Posix|Windows)(?=Path)", "", line) for line in _defaults())
    recorded.check("defaults", "defaults", dict.fromkeys(lines))
