"""Help texts: whole sentences, options in groups, rare ones on request."""

from __future__ import annotations

import re

import pytest
import typer

from torchmetrics_dna.cli import Command, app

COMMANDS = {name: one for name, one in typer.main.get_command(app).commands.items() if isinstance(one, Command)}


def help_of(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    app([*words], standalone_mode=False)
    return capsys.readouterr().out


def sections(text: str) -> dict[str, str]:
    """The texts below the headings of a help."""
    _, *parts = re.split(r"^(\w+):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_commands_that_most_people_need_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("--help", capsys=capsys)
    listed = {title: re.findall(r"^  (\w+)  ", rows, re.MULTILINE) for title, rows in sections(text).items()}
    assert listed["Commands"] == ["demo", "compare", "rank", "make", "monitor"]
    assert {*listed["Commands"], *listed["More"]} == {*COMMANDS}
    assert "..." not in text.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_all_options_are_in_the_full_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    short, full = (help_of(name, option, capsys=capsys) for option in ("-h", "--help-all"))
    shown, rare = set[str](), set[str]()
    for parameter in COMMANDS[name].params:
        (rare if getattr(parameter, "hidden", False) else shown).update(
            option for option in parameter.opts if option.startswith("--")
        )
    listed = [set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)) - {"--help"} for text in (short, full)]
    assert listed == [shown | ({"--help-all"} if rare else set()), shown | rare]
    assert f"Example:\n  torchmetrics-dna {name}" in short
    assert help_of(name, "-h", capsys=capsys) == short  # the full one leaves nothing behind


def test_options_are_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    groups = sections(help_of("compare", "--help-all", capsys=capsys))
    for group, option in {
        "Images": "--fps",
        "Network": "--feature",
        "Statistics": "--num-folds",
        "Machine": "--on",
        "Output": "--format",
    }.items():
        assert f"  {option}" in groups[group]
