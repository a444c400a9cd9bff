"""What the experiments share: arguments, tables, figures, and a note on where the numbers come from.

A page has two comments for each script, ``<!-- results of NAME, tables: 0 -->`` and ``<!-- end of results -->``. The
script writes all that is between them, with the first so many of its tables. All its tables, and the versions that gave
them, go to ``NAME.txt``.
"""

from __future__ import annotations

import argparse
import platform
import re
import shlex
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import torch

mpl.use("Agg")
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
COLOURS = {  # Okabe and Ito
    "dna-emd": "#0072B2", "dna-fd": "#D55E00", "fd": "#009E73", "KID": "#CC79A7", "other": "#E69F00",
    "second": "#56B4E9", "third": "#F0E442", "reference": "#000000",
}  # fmt: skip
LIBRARIES = ("torchmetrics-dna", "torch", "torchmetrics", "timm", "numpy", "pillow", "scikit-learn")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments of every experiment: ``--quick``, ``--threads`` and ``--output``."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quick", action="store_true", help="a small run on pictures at hand, which needs no network")
    found.add_argument("--threads", type=int, help="cores to use; default: torch's")
    found.add_argument(
        "-o",
        "--output",
        type=Path,
        help="folder of the page and figure; default: this one, or for --quick where you are",
    )
    return found


def begin(arguments: argparse.Namespace) -> Path:
    """Set the threads and give the folder to write to."""
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    folder: Path = arguments.output or (Path() if arguments.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def keeping_activations(description: str | None) -> Iterator[tuple[Path, bool, Path]]:
    """Begin an experiment that also has ``--activations``: folder to write to, ``--quick``, folder of what is kept."""
    arguments = parser(description)
    arguments.add_argument("--activations", type=Path, help="folder that keeps what was measured and drawn")
    parsed = arguments.parse_args()
    with TemporaryDirectory() as temporary:
        yield begin(parsed), parsed.quick, parsed.activations or Path(temporary)


def span(values: Sequence[float], form: str = ".2f") -> str:
    """The least and the largest of some values, which may be one."""
    return " to ".join(dict.fromkeys(format(end, form) for end in (min(values), max(values))))


def percent(share: float) -> str:
    """A share in per cent, without decimals."""
    return f"{share:.0%}"


def percents(shares: Sequence[float]) -> str:
    """The least and the largest of some shares in per cent, which may be one."""
    return f"{span([100 * share for share in shares], '.0f')}%"


def finish_powers(figure: Figure, axis: Axes, sizes: Sequence[int], label: str) -> None:
    """Give axes of how often a difference is found, by numbers of images, their labels and legend."""
    axis.set(xscale="log", xlabel=label, ylabel="p ≤ 0.05 (% of draws)", ylim=(-3, 103))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right center")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write(
    folder: Path,
    name: str,
    *,
    here: str,
    tables: Sequence[str],
    figures: dict[str, Figure] | None = None,
    seeds: str,
    data: Sequence[object],
    paper: str = "",
) -> Path:
    """Write results into the page that has their comments, and tables beside it; make a page if there is none.

    Args:
        folder: Of the pages, tables and figures.
        name: Of the script; figures are ``NAME.png``, or ``NAME_KEY.png``, tables ``NAME.txt``.
        here: What was found here, also where it disagrees; written from the numbers.
        tables: In Markdown.
        figures: By key, ``""`` for the only one; the text that stands for a figure is its title.
        seeds: Which, and of what.
        data: Packages or other sources, by name and version.
        paper: What the paper found, a sentence or two, if it asked the same.

    """
    pictures = []
    for key, figure in (figures or {}).items():
        file = f"{name}_{key}.png" if key else f"{name}.png"
        figure.savefig(folder / file, dpi=110, bbox_inches="tight", metadata={"Software": None})
        pictures.append(f"![{figure.get_suptitle()}]({file})")
    found = [*[f"**The paper:** {paper}"] * bool(paper), f"**Here:** {here}"]
    command, versions = provenance()
    origin = f"seeds: {seeds}; data: {', '.join(map(str, data))}"
    source = f"<sub>[Program]({name}.py); [command, seeds, data, all tables]({name}.txt).</sub>"
    record = "\n\n".join([*tables, f"{command}; {origin}; {versions}"]) + "\n"
    (folder / f"{name}.txt").write_text(record, encoding="utf-8")
    print("\n\n".join([*found, record]))

    def block(comments: re.Match[str]) -> str:
        parts = [comments[1], *found, *tables[: int(comments[2])], *pictures, source, comments[3]]
        return "\n\n".join(parts) if page.parent == folder else "\n\n".join(parts).replace("](", f"]({folder.name}/")

    place = re.compile(rf"(<!-- results of {name}, tables: (\d+) -->).*?(<!-- end of results -->)", re.DOTALL)
    beside = folder.parent.glob("*.md") if folder == HERE else ()
    pages = {page: page.read_text(encoding="utf-8") for page in (*folder.glob("*.md"), *beside)}
    empty = f"<!-- results of {name}, tables: 0 --><!-- end of results -->\n"
    page = next((page for page, text in pages.items() if place.search(text)), folder / f"{name}.md")
    page.write_text(place.sub(block, pages.get(page, empty)), encoding="utf-8")
    return page


def provenance() -> tuple[str, str]:
    """Command, without ``--output``; and versions and processor time."""
    kept = [word for before, word in pairwise(sys.argv) if not {before, word} & {"-o", "--output", "--activations"}]
    command = shlex.join(["python", f"docs/experiments/{Path(sys.argv[0]).name}", *kept])
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    minutes = time.process_time() / 60
    return command, f"{versions}, Python {platform.python_version()}; {minutes:.1f} minutes of processor time"
