from __future__ import annotations

import sys

import numpy as np
import pytest

from torchmetrics_dna.demo import DEGRADATIONS, STRENGTHS, photographs, plot_demo, run_demo


@pytest.mark.slow
@pytest.mark.usefixtures("of_any_value")  # photographs of 96 pixels differ as well
def test_distances_rise_with_the_strength_of_every_degradation() -> None:
    demo = run_demo(4)
    for comparisons in demo.comparisons.values():
        for figures in ([c["dna-emd"].value for c in comparisons], [c["dna-fd"].value for c in comparisons]):
            assert figures[0] > 0
            assert figures == sorted(figures)
        assert all(comparison.paired for comparison in comparisons)
    axes = [axis for part in plot_demo(demo).subfigs for axis in part.axes]
    assert axes[0].get_ylabel() == "dna-emd (bins)"
    assert [line.get_label() for line in axes[0].lines] == list(DEGRADATIONS)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_grow(name: str) -> None:
    photo = photographs(3)[0]
    errors = [np.abs(DEGRADATIONS[name](photo, s).astype(float) - photo).mean() for s in STRENGTHS]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs skimage.*pip install .*'scikit-image>=0.22'.* extra 'demo'"):
        photographs(3)
