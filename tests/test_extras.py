"""Optional packages: a missing one is left out silently, a broken one is warned of once."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from accelerator import Accelerator
from networks import pixels, random_images
from torch import Tensor

from torchmetrics_dna import DNAEMD, DNAFrechet
from torchmetrics_dna.extras import _given_up, _imported, optional, require

Break = Callable[[str], None]
EXTRACTOR, RANGES = pixels()


@pytest.fixture
def replace_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Break]:
    """Replace numba by a module with this code."""

    def become(code: str) -> None:
        (tmp_path / "numba.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        for name in list(sys.modules):
            if name == "numba" or name.partition(".")[2] in ("compiled", "binning.cpu", "images.cpu"):
                monkeypatch.delitem(sys.modules, name)
        _imported.cache_clear()

    yield become
    _imported.cache_clear()
    _given_up.clear()


def distances() -> tuple[float, float]:
    metrics = [DNAEMD(EXTRACTOR, ranges=RANGES), DNAEMD(EXTRACTOR, ranges="auto"), DNAFrechet(EXTRACTOR)]
    for metric in metrics:
        for real in (True, False):
            metric.update(random_images(4, 1 + real), real=real)
    return tuple(float(metric.compute()) for metric in metrics)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise ImportError('Numba needs NumPy 2.3 or less. Got NumPy 9.0.')", "ImportError: Numba needs NumPy 2.3"),
        ("raise OSError('libsvml.so: cannot open shared object file')", "OSError: libsvml.so"),
    ],
)
def test_a_broken_numba_is_said_once(replace_numba: Break, code: str, cause: str) -> None:
    expected = distances()
    replace_numba(code)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert distances() == pytest.approx(expected, rel=1e-12)
        assert distances() == pytest.approx(expected, rel=1e-12)
    (warning,) = caught
    assert warning.category is UserWarning
    assert f"fails ({cause}" in str(warning.message)
    assert "`pip install --upgrade numba`" in str(warning.message)
    assert optional("binning.cpu") is None


def test_a_missing_numba_is_not_worth_a_word(replace_numba: Break) -> None:
    expected = distances()
    replace_numba("raise ModuleNotFoundError(\"No module named 'numba'\", name='numba')")
    assert distances() == pytest.approx(expected, rel=1e-12)  # warnings are errors here
    assert optional("binning.cpu") is None


def no_triton(name: str) -> ModuleType:
    if name.endswith(".cuda"):
        raise ModuleNotFoundError("No module named 'triton'", name="triton")
    return import_module(name)


def no_compiler(*_: object) -> None:
    raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")


@pytest.mark.parametrize(
    ("place", "broken", "message"),
    [
        ("extras.import_module", no_triton, "triton is not installed, so counting is many times slower; run `pip inst"),
        (
            "binning.cuda.add_layer_",
            no_compiler,
            r"triton is installed but fails \(RuntimeError: Failed to find C comp",
        ),
    ],
)
def test_without_triton_torch_counts_after_one_warning(
    place: str, broken: Callable[..., None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distances(device: str) -> Tensor:
        metric = DNAEMD(EXTRACTOR, ranges=RANGES).to(device)
        for real in (True, False):
            metric.update(random_images(4, 1 + real).to(device), real=real)
        return metric.compute().cpu()

    expected = distances("cpu")
    _imported.cache_clear()
    monkeypatch.setattr(f"torchmetrics_dna.{place}", broken)
    try:
        with Accelerator(), pytest.warns(UserWarning, match=message) as warned:
            assert distances("cuda") == expected
    finally:
        _imported.cache_clear()
        _given_up.clear()
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("module", "named"), [("nowhere.inner", "nowhere"), ("present.inner", "below for present"), ("present", "present")]
)
def test_the_package_that_is_missing_is_named(
    module: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module == "present.inner":
        (tmp_path / "present").mkdir()
        (tmp_path / "present" / "__init__.py").write_text("import below.inner\n")
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=f"This needs {named}, which is not .* `pip install 'matplotlib"):
        require(module, "plot")
