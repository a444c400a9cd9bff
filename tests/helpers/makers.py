"""Every metric class in every form, over a network whose activations are exact."""

from __future__ import annotations

from collections.abc import Callable

from networks import pixels, random_images
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    OutlierShare,
    make_dna,
)

EXTRACTOR, RANGES = pixels()
REAL, FAKE = random_images(6, 0), random_images(5, 1) // 2


def emd(**kwargs: object) -> DNAEMD:
    return DNAEMD(EXTRACTOR, **{"ranges": RANGES, "num_bins": 40} | kwargs)


def self_ranging_emd(**kwargs: object) -> DNAEMD:
    return DNAEMD(EXTRACTOR, **{"ranges": "auto", "num_bins": 40} | kwargs)


def frechet(**kwargs: object) -> DNAFrechet:
    return DNAFrechet(EXTRACTOR, **kwargs)


def frechet_of_activations(**kwargs: object) -> DNAFrechet:
    return DNAFrechet(EXTRACTOR, **{"statistics": "activations", "ranges": RANGES, "num_bins": 40} | kwargs)


def self_ranging_frechet(**kwargs: object) -> DNAFrechet:
    return DNAFrechet(EXTRACTOR, **{"statistics": "activations", "num_bins": 40} | kwargs)


def layer_frechet(**kwargs: object) -> LayerFrechetDistance:
    return LayerFrechetDistance(EXTRACTOR, **kwargs)


def realism(**kwargs: object) -> DNARealism:
    reference = make_dna(REAL, EXTRACTOR, num_bins=40, ranges=RANGES)
    return DNARealism(EXTRACTOR, **{"reference": reference} | kwargs)


def outlier_realism(**kwargs: object) -> DNARealism:
    reference = make_dna(REAL, EXTRACTOR, kind="layer-gaussian")
    return DNARealism(EXTRACTOR, **{"reference": reference} | kwargs)


def outlier_share(**kwargs: object) -> OutlierShare:
    reference = make_dna(REAL, EXTRACTOR, kind="layer-gaussian")
    return OutlierShare(EXTRACTOR, **{"reference": reference} | kwargs)


def activation_range(**kwargs: object) -> ActivationRange:
    return ActivationRange(EXTRACTOR, **kwargs)


MAKERS: dict[str, Callable[..., Metric]] = {
    maker.__name__: maker
    for maker in (emd, self_ranging_emd, frechet, frechet_of_activations, self_ranging_frechet, layer_frechet)
}

# without the forms that differ in what they count by alone
CLASSES = {maker.__name__: maker for maker in (emd, frechet, layer_frechet)}
ONE_SIDED: dict[str, Callable[..., Metric]] = {
    maker.__name__: maker for maker in (realism, outlier_realism, outlier_share, activation_range)
}


def with_reference(name: str, images: Tensor = REAL, **kwargs: object) -> Metric:
    """The metric whose real side is a DNA of images, made by a metric of the same kind."""
    source = MAKERS[name](sync_on_compute=False)
    source.update(images, real=True)
    return MAKERS[name](reference=source.to_dna(True), **kwargs)


def alone(make: Callable[..., Metric], real: Tensor = REAL, fake: Tensor = FAKE) -> Metric:
    """The metric of one process, also among several."""
    return fed(make(sync_on_compute=False), real, fake)


def fed(metric: Metric, real: Tensor = REAL, fake: Tensor = FAKE) -> Metric:
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric
