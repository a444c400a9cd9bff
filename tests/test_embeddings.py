"""Embeddings: rows of numbers, in memory and in files, whose columns are neurons."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch.utils.data import DataLoader

from torchmetrics_dna import DNAEMD, DNAExtractor, Reading, compare, load_dna, make_dna, monitor, rank
from torchmetrics_dna.images.properties import neuron_name

SHIFTED = 3, 11
MIXING = np.random.default_rng(9).normal(size=(4, 16))


def rows(count: int, seed: int, dtype: Any = np.float32) -> np.ndarray:
    """Correlated columns of several scales, in steps that float16 holds."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 4)) @ MIXING + 2 * rng.normal(size=(count, 16))
    return (np.round(values * 32) / 32).astype(dtype)


A, B = rows(60, 0), rows(80, 1)
B[:, SHIFTED] += 4, 8


def npz(path: Path, values: np.ndarray) -> str:
    np.savez(path / "x.npz", labels=np.arange(len(values)), vectors=values)
    return str(path / "x.npz")


def of_two(path: Path, values: np.ndarray) -> str:
    np.savez_compressed(path / "two.npz", other=values[:, :3], vectors=values)
    return str(path / "two.npz")


def npy(path: Path, values: np.ndarray) -> str:
    np.save(path / "x.npy", values)
    return str(path / "x.npy")


def shards(path: Path, values: np.ndarray) -> str:
    for k, part in enumerate(np.array_split(values, 3)):
        np.save(path / f"part{k}.npy", part)
    return str(path / "part{0..2}.npy")


def safetensors(path: Path, values: np.ndarray) -> str:
    from safetensors.torch import save_file

    save_file({"vectors": torch.tensor(values), "labels": torch.arange(len(values))}, path / "x.safetensors")
    return str(path / "x.safetensors")


def parquet(kind: str) -> Callable[[Path, np.ndarray], str]:
    def write(path: Path, values: np.ndarray) -> str:
        import pyarrow as pa
        from pyarrow import parquet as pq

        number = pa.from_numpy_dtype(values.dtype)
        of = {"list": pa.list_(number), "large": pa.large_list(number), "fixed": pa.list_(number, values.shape[1])}
        columns = {"label": list(range(len(values))), "vectors": pa.array([*values], of[kind])}
        pq.write_table(pa.table(columns), path / "x.parquet", row_group_size=7)
        return str(path / "x.parquet")

    return write


FORMS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "array": lambda _, values: values,
    "tensor": lambda _, values: torch.tensor(values),
    "list of rows": lambda _, values: [*values],
    "list of lists": lambda _, values: values.tolist(),
    "loader": lambda _, values: DataLoader(torch.tensor(values), batch_size=7),
    "npy": npy,
    "shards": shards,
    "npz": npz,
    "npz of two": of_two,
    "safetensors": safetensors,
    **{f"parquet, {kind}": parquet(kind) for kind in ("list", "large", "fixed")},
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same(form: str, dtype: Any, tmp_path: Path) -> None:
    source = FORMS[form](tmp_path, A.astype(dtype))
    reading = Reading(column="vectors" if form == "npz of two" else None)
    feature: Any = "identity:tests"
    if form == "loader":  # whose width is known when it is read
        feature = DNAExtractor(feature, inputs="any", example=torch.zeros(1, 16))
    dna: Any = make_dna(source, feature, kind="gaussian", reading=reading)
    assert dna.extractor == "identity:tests"
    assert dict(dna.neurons) == {"embedding": 16}
    np.testing.assert_allclose(dna.mean, A.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(dna.var, A.astype(np.float64).var(0, ddof=1), rtol=1e-12)


@pytest.fixture(scope="module")
def compared() -> Any:
    return compare(A, B.astype(np.float64), "identity")


def test_distances(compared: Any) -> None:
    a, b = A.astype(np.float64), B.astype(np.float64)
    frechet = (a.mean(0) - b.mean(0)) ** 2 + (a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2
    np.testing.assert_allclose(compared["dna-fd"].values, frechet, rtol=1e-9)
    # bins are of the range of A with 20 % more; each value is off by a bin at most
    low, high = a.min(0), a.max(0)
    widths, margin = (high - low) * 1.2 / 1000, (high - low) * 0.1
    b = b.clip(low - margin, high + margin)
    exact = np.array([wasserstein_distance(a[:, k], b[:, k]) for k in range(16)]) / widths
    np.testing.assert_allclose(compared["dna-emd"].values, exact, atol=2.5)


def test_what_is_said(compared: Any) -> None:
    assert compared.p_value <= 0.01
    assert "The difference is largest in columns 11, 3." in compared.verdict, "the clearest first"
    assert [row["neuron"] for row in compared.top_neurons(2)] in ([*SHIFTED], [*SHIFTED[::-1]])
    assert compared.noun == "row"
    said = [compared.verdict, *compared.notices, *compared.table.notes]
    assert "60 and 80 rows" in compared.table.notes[0]
    assert not any("image" in line for line in said)
    assert neuron_name("embedding", 3) == "3"


@pytest.mark.parametrize("far", [20, 70, 0])
def test_a_single_layer_is_no_reason(far: int) -> None:
    other = rows(80, 1)
    other[:far] *= 8
    ranking = rank(other, A, "identity")
    lines = [*compare(A, other, "identity").verdict_lines, *ranking.verdict.splitlines(), *ranking.rows()[0].values()]
    said = [line for line in lines if str(line).startswith(f"{far} are unusual compared with the reference: row ")]
    assert len(said) == (far > 40), lines
    assert not any("embedding" in str(line) for line in lines)
    assert set(rank(other, A, "identity").reasons.values()) <= {"is unusual compared with the reference"}


def test_equal_rows_are_named() -> None:
    b = np.concatenate([rows(40, 2), A[5:25], A[5:6]])
    result = compare(A, b, "identity")
    assert (result.copies, result.shares_images) == (21, True)
    assert (
        "21 rows in B are also in A, such as row 40 and row 5. Near-duplicates were not searched for" in result.notices
    )
    result = compare(A, np.concatenate([rows(40, 2), rows(40, 2)[:1]]), "identity")
    again = "1 row in B occurs there again, such as row 40 and row 0. Equal rows share a fold, which weakens the test"
    assert again in result.notices
    assert result.copies == 0


def test_a_row_that_is_not_finite_is_named() -> None:
    spoilt = B.copy()
    spoilt[7, 2], spoilt[30] = np.nan, np.inf
    message = r"^Can't read row 'row 7': it has values that are NaN or infinite; Can't read row 'row 30': .*skip_"
    with pytest.raises(ValueError, match=message):
        make_dna(spoilt, "identity")
    with pytest.warns(UserWarning, match=r"^2 rows were left out, the first: Can't read row"):
        assert compare(A, spoilt, "identity").num_images == {"a": 60, "b": 78}
    result = compare(A, spoilt, "identity", reading=Reading(skip_unreadable=True))
    assert {line.split(":")[0] for line in result.unreadable} == {"Can't read row 'row 7'", "Can't read row 'row 30'"}
    good: Any = np.delete(B, [7, 30], 0).astype(np.float64)
    np.testing.assert_allclose(result.measured[1].dnas["gaussian"].mean, good.mean(0), rtol=1e-12)


def test_the_model_is_part_of_the_identity(tmp_path: Path) -> None:
    file = tmp_path / "a.dna.npz"
    make_dna(A, "identity:clip").save(file)
    assert compare(file, B)["dna-emd"].value > 0  # by the file's feature
    assert load_dna(file).extractor == "identity:clip"
    with pytest.raises(ValueError, match="their extractors differ: 'identity:clip' and 'identity:dino'"):
        compare(file, B, "identity:dino")
    with pytest.raises(ValueError, match="their extractors differ: 'identity:clip' and 'identity:dino'"):
        compare(make_dna(A, "identity:clip"), make_dna(B, "identity:dino"))
    with pytest.raises(ValueError, match="A file tells what made its embeddings: pass the feature identity:MODEL"):
        make_dna(A, "identity").save(tmp_path / "b.dna.npz")
    with pytest.raises(ValueError, match="Embeddings have 16 and 9 columns; pass both of one model"):
        compare(file, B[:, :9])


def test_rank_and_monitor_and_several_sets() -> None:
    odd = B.copy()
    odd[4] *= 4
    ranking = rank(odd, B[:60], "identity")
    assert ranking.names[0] == "row 4"
    assert "rows" in ranking.table.title
    assert ranking.table.header[-1] != "image"
    windows = list(monitor(A, np.concatenate([A, A + 3]), "identity", window=10, learn=6, order="source"))
    assert len(windows) == 12
    assert windows[-1].value > windows[5].value
    several = compare(A, {"near": rows(60, 5), "far": B}, "identity")
    assert several.best == "near"
    assert "far" in compare(A, {"near": rows(60, 5), "far": B}, "identity", held_out="near").verdict
    said = [several.verdict, *several.table.header, *several.table.notes, several.table.title]
    assert "rows" in several.table.header
    assert not any("image" in line for line in said)
    grouped = compare(A, B, "identity", groups=(np.arange(60) // 2, np.arange(80) // 2))
    assert grouped.p_value <= 0.05


def test_metric() -> None:
    metric = DNAEMD(DNAExtractor("identity", inputs="any", example=torch.zeros(2, 16)))
    metric.update(torch.tensor(A), real=True)
    metric.update(torch.tensor(B), real=False)
    assert float(metric.compute()) == pytest.approx(compare(A, B, "identity")["dna-emd"].value)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.zeros((9, 5), int), {}, r"floating point numbers, but got int64; pass `numpy.float32\(rows\)`"),
        (A[0], {}, "expected to have 2 axes, batch first"),
        (A[:, None], {}, "expected to have 2 axes, batch first"),
        (A, {"layers": ["embedding"]}, "`layers` requires a named feature"),
        ("x.txt", {}, "takes rows, but 'x.txt' is no file of them; pass .npy, .npz, .parquet, .safetensors, or for"),
        ("missing.npy", {}, "missing.npy"),
        ((row for row in A), {}, "The number of columns of a stream is not known before it is read"),
    ],
)
def test_what_is_no_embedding(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        make_dna(source, "identity", **options)


@pytest.mark.parametrize("feature", ["identity", "identity:clip"])
def test_an_extractor_takes_an_example(feature: str) -> None:
    for arguments in ({}, {"inputs": "any"}, {"inputs": "any", "example": (torch.zeros(2, 3),)}):
        with pytest.raises(ValueError, match=r"takes embeddings, which have no layers; pass `inputs='any'` and, as"):
            DNAExtractor(feature, **arguments)


def test_damaged_files(tmp_path: Path) -> None:
    for name in ("x.npy", "x.npz", "x.parquet", "x.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=name):
            make_dna(tmp_path / name, "identity")
    with pytest.raises(ValueError, match=r"it has 2 arrays of 2 axes, of other, vectors; name one by `column`"):
        make_dna(of_two(tmp_path, A), "identity")
    with pytest.raises(ValueError, match=r"`column` is 'z', but there are no columns in '.*x\.npy'"):
        make_dna(npy(tmp_path, A), "identity", reading=Reading(column="z"))
    with pytest.raises(ValueError, match="There is no column 'z'"):
        make_dna(npz(tmp_path, A), "identity", reading=Reading(column="z"))
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.table({"v": [[1.0, 2.0], [1.0]], "w": [[1.0, 2.0], None]}), tmp_path / "y.parquet")
    for column in (None, "v", "w"):
        with pytest.raises(ValueError, match=r"its rows in '[vw]' have values that are missing, or several lengths"):
            make_dna(tmp_path / "y.parquet", "identity", reading=Reading(column=column))


@pytest.mark.parametrize("form", ["array", "tensor", "npy"])
@pytest.mark.parametrize("scale", [1, 100])
def test_embeddings_are_no_grey_image(form: str, scale: int, tmp_path: Path) -> None:
    values = np.abs(A) / np.abs(A).max() * scale
    with pytest.raises(ValueError, match="pass embeddings to the feature 'identity'"):
        make_dna(FORMS[form](tmp_path, values))
    assert make_dna([values / scale], layers=["block_0"]).num_images == 1  # in a list it is an image


def test_safetensors_hold_no_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x.safetensors' holds no images; pass embeddings to the feature 'identity'"):
        make_dna(safetensors(tmp_path, A))


_KEYS = re.compile(r'"(num_images|images|image)":')  # of json, which are those of images
_ANSWERS: dict[str, tuple[str, int]] = {
    "two sets": ("compare a.npy b.npy", 0),
    "two that are alike": ("compare a.npy c.npy", 0),
    "odd rows": ("compare a.npy odd.npy --fail-if-outliers", 1),
    "no odd rows": ("compare a.npy again.npy --fail-if-outliers", 0),
    "one row": ("compare a.npy one.npy", 0),
    "equal rows": ("compare a.npy again.npy", 0),
    "rows twice": ("compare a.npy a.npy", 0),
    "rows left out": ("compare a.npy nan.npy --skip-unreadable", 0),
    "several sets": ("compare a.npy b.npy c.npy", 0),
    "held-out rows": ("compare a.npy b.npy c.npy --held-out c.npy", 0),
    "which set is odd": ("compare a.npy b.npy c.npy again.npy --all", 0),
    "pairs": ("compare a.npy again.npy --pairs order --fail-if-different", 0),
    "versions": ("diff a.npy again.npy --fail-if-changed", 1),
    "one set": ("rank odd.npy", 0),
    "a gate of one set": ("rank odd.npy --fail-if-outliers", 1),
    "few rows": ("rank few.npy", 0),
    "a gate of few rows": ("rank few.npy --fail-if-outliers", 2),
    "a reference": ("rank odd.npy --reference a.npy --nearest a.npy", 0),
    "its own rows": ("rank again.npy --reference a.npy", 0),
    "contrast": ("rank odd.npy --reference a.npy --score contrast", 0),
    "places": ("rank odd.npy --reference a.npy --score local", 2),
    "windows": ("monitor a.npy b.npy --window 16 --learn 3", 0),
    "a window too long": ("monitor a.npy b.npy --window 500", 2),
    "folds": ("compare a.npy b.npy --num-folds 500", 2),
    "no partners": ("compare a.npy few.npy --pairs order", 2),
    "ranges": ("ranges a.npy -o x.json", 0),
    "a file": ("make a.npy -o x.dna.npz", 0),
    "what a file holds": ("info a.dna.npz", 0),
    "a set beside a file": ("compare a.dna.npz b.npy", 0),
}


@pytest.mark.outer
@pytest.mark.slow
@pytest.mark.usefixtures("few_relabelings")
@pytest.mark.parametrize("what", _ANSWERS)
def test_no_answer_speaks_of_images(
    what: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sets = {"a": A, "b": B, "c": rows(70, 4), "odd": B.copy(), "one": B[:1], "few": B[:9], "nan": B.copy()}
    sets["again"] = np.concatenate([A[:40], rows(20, 5)])
    sets["odd"][4], sets["odd"][9], sets["nan"][3, 2] = 0, 40 * B[9], np.nan
    for name, values in sets.items():
        np.save(f"{name}.npy", values)
    make_dna(A, "identity:clip").save("a.dna.npz")
    command, code = _ANSWERS[what]
    feature = [] if "a.dna" in command else ["--feature", "identity:clip"]
    is_result = command.split()[0] in ("compare", "diff", "rank")
    for form in [[], ["--format", "json"], ["-o", "x.html"]] if is_result else [[]]:
        printed = cli(*command.split(), *feature, *form, code=code)
        page = Path("x.html")
        said = f"{printed.out}\n{printed.err}" + (page.read_text() if page.exists() else "")
        text = _KEYS.sub("", re.sub("<style>.*?</style>", "", said, flags=re.DOTALL))
        assert not re.findall(".{0,60}[Ii]mage.{0,40}", text), form
        if code == 0 and is_result and "json" not in form:
            assert "row" in text


def test_explanations_and_reprs_speak_of_rows(compared: Any) -> None:
    dnas: Any = [side.dnas[kind] for side in compared.measured for kind in ("histogram", "gaussian")]
    ranking = rank(B, A, "identity", nearest=A)
    spoken_of = [compared.explain(), compared, *dnas, ranking, ranking.index, ranking.verdict, *ranking.notices]
    assert not [text for text in map(repr, spoken_of) if "image" in text]
    assert "80 rows" in repr(ranking)
    assert "image" not in f"{compared.explain()} {compared._repr_html_()} {ranking._repr_html_()}"


def test_commands(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    a, b = npy(tmp_path, A), npy(tmp_path / "images", B)
    printed = cli("compare", a, b, "--feature", "identity")
    assert "60 and 80 rows" in " ".join(printed.out.split())
    words = (printed.out + printed.err).replace(str(tmp_path), "").replace("images/x.npy", "")
    assert "image" not in words, words
    found = json.loads(cli("compare", a, b, "--feature", "identity", "--format", "json").out)
    assert found["extractor"] == "identity"
    assert {row["neuron"] for row in found["top_neurons"][:2]} == {*SHIFTED}
    file = tmp_path / "a.dna.npz"
    assert "identity:MODEL" in cli("make", a, "-o", file, "--feature", "identity", code=2).err
    cli("make", a, "-o", file, "--feature", "identity:clip")
    assert "rows" in cli("compare", file, b).out
