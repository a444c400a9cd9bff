"""What results say: verdicts, notices, tables, json and pages over a table of forms, with numbers left out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache, partial
from html import unescape
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import recorded
import torch
from PIL import Image, ImageFilter

from torchmetrics_dna import DNAExtractor, NeuronWeights, Reading, compare, load_dna, make_dna, monitor, rank
from torchmetrics_dna.__main__ import main
from torchmetrics_dna.cli import console
from torchmetrics_dna.comparisons import diff
from torchmetrics_dna.comparisons.distance_matrix import matrix
from torchmetrics_dna.comparisons.monitor import Window
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.reporting import write

Images = list[np.ndarray]


class Channels(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        edges = images[..., 1:] - images[..., :-1]
        return {"colours": images, "edges": torch.cat([edges, edges.abs()], 1)}


def extractor(*layers: str) -> DNAExtractor:
    return DNAExtractor(Channels(), layers=list(layers or ("colours", "edges")), input_size=16)


def pictures(seed: int, count: int = 24) -> Images:
    """Coarse patterns in colours of their own."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(30, 220, (5, 5, 3), dtype=np.uint8)).resize((32, 32))
        made.append(np.asarray(coarse) + random.integers(0, 8, (32, 32, 3), dtype=np.uint8))
    return made


def darker(images: Images, by: float = 0.6) -> Images:
    return [(by * image).astype(np.uint8) for image in images]


def blurred(images: Images) -> Images:
    return [np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(3))) for image in images]


A, B = pictures(0), pictures(8)
ODD = [*pictures(2, 43), np.zeros((32, 32, 3), np.uint8), 255 * np.ones((32, 32, 3), np.uint8)]
GREY = [np.repeat(image[..., :1], 3, 2) for image in B[:12]] + B[12:]
GROUPS = [f"g{i // 3}" for i in range(24)]


def saved(folder: Path, **sets: Images) -> list[Path]:
    for name, images in sets.items():
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i:02}.png")
    return [folder / name for name in sets]


def in_classes(folder: Path) -> list[Path]:
    for side, images in (("a", A), ("b", darker(B))):
        saved(folder / side, cats=images[:12], dogs=images[12:])
    return [folder / "a", folder / "b"]


def versions(folder: Path) -> Any:
    old, new = saved(folder, old=A, new=A[2:])
    Image.fromarray(B[0]).save(new / "new.png")
    Image.fromarray(B[1]).save(new / "05.png")
    return diff(old, new)


def broken(folder: Path) -> Any:
    first, second = saved(folder, first=A, second=B)
    (second / "00.png").write_bytes(b"no image")
    return compare(first, second, extractor(), reading=Reading(skip_unreadable=True), causes=False)


def with_weights(_: Path) -> Any:
    weights = NeuronWeights(
        torch.linspace(0, 1, 9, dtype=torch.float64) / 4.5, extractor().neurons, "Channels", name="learned"
    )
    return compare(A, darker(B), extractor(), neuron_weights=weights, causes=False)


COMMANDS = [
    "compare a b --layers block_0",
    "compare a b --layers block_0 --metrics dna-emd fd --no-causes --fail-if-different",
    "compare a a --layers block_0",
    "compare a b c --layers block_0 --held-out c",
    "compare a b c --layers block_0 --all",
    "compare a b --layers block_0 --pairs name",
    "diff a b",
    "rank b --layers block_0",
    "rank b --layers block_0 --reference a --worst 3",
    "monitor a b --layers block_0 --window 8 --learn 2",
    "make a --layers block_0 -o x.dna.npz",
    "info",
    "info b.dna.npz",
    "merge b.dna.npz c.dna.npz -o x.dna.npz",
    "convert b.dna.npz official",
    "ranges a --layers block_0 -o ranges.json",
    "compare b.dna.npz c.dna.npz --format csv",
    "compare b.dna.npz c.dna.npz --format latex",
    "compare b.dna.npz c.dna.npz --format markdown",
]


@cache
def _sets() -> dict[str, bytes]:
    """Files that commands are typed about, made once."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        saved(folder, a=A, b=darker(B), c=pictures(4))
        for name, images in (("b", B), ("c", pictures(4))):
            make_dna(images, layers=["block_0"], num_folds=6).save(folder / f"{name}.dna.npz")
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def typed(words: str, folder: Path) -> SimpleNamespace:
    """What a command prints."""
    for name, content in _sets().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for each in (console.out, console.talk):  # as wide as in a pipe, whatever the tests run in
            patch.setattr(each, "_width", console.WIDE)
        patch.chdir(folder)
        patch.setattr("sys.argv", ["torchmetrics-dna", *words.split()])
        code = 0
        try:
            main()
        except SystemExit as exited:
            code = exited.code
    return SimpleNamespace(verdict=f"exit code {code}\n{out.getvalue()}", notices=err.getvalue().splitlines())


FORMS: dict[str, Callable[[Path], Any]] = {
    "equal kinds": lambda _: compare(A, B, extractor()),
    "darker": lambda _: compare(A, darker(B), extractor()),
    "blurred, no causes": lambda _: compare(A, blurred(B), extractor(), causes=False),
    "half of them grey": lambda _: compare(A, GREY, extractor()),
    "one layer, one distance": lambda _: compare(A, darker(B), extractor("edges"), metrics=["dna-fd"], causes=False),
    "the same": lambda _: compare(A, A, extractor()),
    "shared": lambda _: compare(A, A[:12] + B[:12], extractor()),
    "copies": lambda _: compare(A, [np.ascontiguousarray(image[1:, 1:]) for image in A], extractor()),
    "pairs": lambda _: compare(A, darker(A, 0.95), extractor(), pairs=True),
    "three pairs": lambda _: compare(A[:3], darker(A[:3]), extractor(), pairs=True),
    "groups": lambda _: compare(A, darker(B), extractor(), groups=(GROUPS, GROUPS), num_folds=8),
    "few": lambda _: compare(A[:3], B[:3], extractor()),
    "one": lambda _: compare(A, B[:1], extractor()),
    "no folds": lambda _: compare(A, B, extractor(), num_folds=None),
    "odd ones": lambda _: compare(pictures(3, 45), ODD, extractor()),
    "weights": with_weights,
    "left out": broken,
    "of files": lambda _: compare(make_dna(A, extractor(), num_folds=8), make_dna(B, extractor(), num_folds=8)),
    "of a file without folds": lambda _: compare(make_dna(A, extractor(), num_folds=None), darker(B), extractor()),
    "several": lambda _: compare(A, {"run_1": darker(B), "run_2": darker(pictures(4), 0.8)}, extractor(), causes=False),
    "held out": lambda _: compare(
        A, {"run": darker(B), "equal": pictures(5), "test": pictures(4)}, extractor(), causes=False, held_out="test"
    ),
    "classes": lambda folder: compare(*in_classes(folder), extractor(), by="folder"),
    "all with all": lambda _: matrix({"a": A, "b": B, "c": darker(pictures(4)), "d": pictures(5)}, extractor()),
    "versions": versions,
    "stream": lambda _: list(monitor(A, [*B, *darker(pictures(4))], extractor(), window=8, learn=2))[-1],
    "a reference": lambda _: rank(darker(B[:4]), A, extractor()),
    "odd images": lambda _: rank(ODD, pictures(3, 45), extractor()),
    "the reference's own": lambda _: rank(A[:6], A, extractor()),
    "a file for a reference": lambda _: rank(B[:4], make_dna(A, extractor()), extractor(), score="distance"),
    "one folder": lambda _: rank(ODD, feature=extractor()),
    "one clean folder": lambda _: rank(pictures(3, 45), feature=extractor()),
    "few of one folder": lambda _: rank(A[:5], feature=extractor()),
    "one image": lambda _: rank(B[:1], A, extractor()),
    "contrast": lambda _: rank(B[:4], A, extractor(), score="contrast"),
    "contrast with others": lambda _: rank(B[:4], A, extractor(), score="contrast", contrast=darker(pictures(4))),
    "neighbours": lambda _: rank(B[:4], A, extractor(), score="local"),
    "nearest": lambda _: rank([*B[:3], A[5]], A, extractor(), nearest=A),
    **{f"typed: {words}": partial(typed, words) for words in COMMANDS},
    "a dna": lambda folder: reloaded(make_dna(A, extractor(), num_folds=6), folder),
    "a dna of layers": lambda folder: reloaded(make_dna(A, extractor(), kind="layer-gaussian"), folder),
}  # fmt: skip


def reloaded(dna: Any, folder: Path) -> Any:
    dna.save(folder / "x.dna.npz")
    return replace(load_dna(folder / "x.dna.npz"), notes="noted")


def _masked(text: str, folder: Path) -> str:
    """Leave out what computers round, and places."""
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"\b(?=\d*[a-f])[0-9a-f]{12,}\b", "DIGEST", text)
    text = recorded.NUMBER.sub("#", text)
    return "\n".join(
        re.sub(r"[ \u2500-\u257f-]{2,}", "  ", line).rstrip() for line in text.splitlines() if line.strip()
    )


def _text_of(page: str) -> str:
    body = re.sub(r"<(style|script|svg)\b.*?</\1>|<title>.*?</title>", "", page, flags=re.DOTALL)
    text = unescape(re.sub(r"<[^>]+>", "\n", body))
    lines = re.sub(r"\d[\d.]*(\+(cpu|cu\d+|rocm[\d.]+|xpu))?", "#", text).splitlines()  # as in torch 2.13.0+cpu
    return "\n".join(sorted(set(map(str.strip, lines))))  # rows of a table may have another order on another machine


def _shape(value: Any, in_list: bool = False) -> Any:
    """Keys and texts of json; of a list of equal shapes, the first without its texts."""
    if isinstance(value, dict):
        return {key: _shape(part, in_list) for key, part in value.items()}
    if isinstance(value, list):
        shapes = [_shape(part, in_list=True) for part in value]
        is_one = all(shape == shapes[0] for shape in shapes)
        return shapes[:1] if is_one and len(shapes) > 1 else [_shape(part, in_list) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "#"
    return "text" if in_list and isinstance(value, str) else value


def _parts(result: Any, folder: Path) -> Iterator[tuple[str, str]]:
    if not isinstance(result, SimpleNamespace):
        yield "str", str(result)
    for name in ("verdict", "notices", "explain"):
        if (value := getattr(result, name, None)) is not None:
            value = value() if callable(value) else value
            yield name, "\n".join(value) if isinstance(value, list) else str(value)
    if hasattr(result, "to_dict"):
        shape = _shape(json.loads(json.dumps(result.to_dict())))
        yield "json", "\n".join(f"{key}: {json.dumps(part, ensure_ascii=False)}" for key, part in shape.items())
    if not isinstance(result, DNA | Window | SimpleNamespace):
        write(folder / "page.html", result)
        page = (folder / "page.html").read_text(encoding="utf-8")
        yield "page", _text_of(page.replace(str(folder), "FOLDER"))


@pytest.mark.parametrize("name", FORMS)
def test_a_result_says_what_it_said(name: str, tmp_path: Path) -> None:
    result = FORMS[name](tmp_path)
    parts = _parts(result, tmp_path)
    recorded.check(name, (f"## {part}\n{_masked(text, tmp_path)}" for part, text in parts))
