"""Optional packages: a missing one is left out silently, a broken one is warned of once."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from networks import pixels, random_images

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
