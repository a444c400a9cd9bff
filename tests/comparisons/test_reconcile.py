"""Reconciling a claimed value: hidden choices, made by Pillow, torch and numpy, are named, and others are not."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import Convolutions, Pixels
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor
from torch.nn.functional import interpolate

from torchmetrics_dna import DNAExtractor, Reading, compare, make_dna
from torchmetrics_dna.comparisons.claims import Candidates, reconcile
from torchmetrics_dna.comparisons.reconciliation import Attempt, Reconciliation, share_explained
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna.fid_statistics import load_fid_statistics

Picture = np.ndarray
PHOTOS = [np.ascontiguousarray(photo[:72, :96]) for photo in photographs(100)]
IMAGES, REFERENCE = [blur(photo, 1) for photo in PHOTOS[::2]], PHOTOS[1::2]
SIDE, BATCH, HALF = 32, 8, (0.5, 0.5, 0.5)
NETWORK = Convolutions()
with torch.no_grad():  # edges, which resizes and JPEG change
    NETWORK.stem.weight -= NETWORK.stem.weight.mean((1, 2, 3), keepdim=True)
    NETWORK.body[2].weight.fill_(20)
EXTRACTOR = DNAExtractor(NETWORK, layers=["body.2"], input_size=SIDE, resize="pillow", mean=HALF, std=HALF)


def by_pillow(method: Image.Resampling) -> Callable[[Picture], Tensor]:
    return lambda picture: _tensor(np.array(Image.fromarray(picture).resize((SIDE, SIDE), method))) / 255


def by_torch(**options: Any) -> Callable[[Picture], Tensor]:
    return lambda picture: interpolate(_tensor(picture)[None] / 255, (SIDE, SIDE), **options)[0]


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()


def as_jpeg(quality: int) -> Callable[[Picture], Picture]:
    def saved(picture: Picture) -> Picture:
        file = BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.array(Image.open(file))

    return saved


BICUBIC, NEAREST = by_pillow(Image.Resampling.BICUBIC), by_pillow(Image.Resampling.NEAREST)


def features(
    pictures: Sequence[Picture],
    edit: Callable[[Picture], Picture] = np.asarray,
    resize: Callable[[Picture], Tensor] = BICUBIC,
    mean: float = 0.5,
    flip: int | None = None,
    training: bool = False,
) -> np.ndarray:
    pixels = (torch.stack([resize(edit(picture)) for picture in pictures]) - mean) / 0.5
    pixels = pixels if flip is None else pixels.flip(flip)
    network = copy.deepcopy(NETWORK).train(training)
    with torch.no_grad():
        maps = [network.body[:3](network.stem(part)) for part in pixels.split(BATCH)]
    return torch.cat(maps).mean((2, 3)).double().numpy()


def distance(a: np.ndarray, b: np.ndarray, ddof: int = 1) -> float:
    cov_a, cov_b = np.cov(a, rowvar=False, ddof=ddof), np.cov(b, rowvar=False)
    root = sqrtm(cov_a @ cov_b).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root))


OF_REFERENCE = features(REFERENCE)


def claim(a: np.ndarray, digits: int = 9) -> str:
    return f"{distance(a, OF_REFERENCE):.{digits}f}"


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("statistics") / "reference.npz"
    np.savez(path, mu=OF_REFERENCE.mean(0), sigma=np.cov(OF_REFERENCE, rowvar=False))
    return path


@pytest.fixture(scope="module")
def candidates(statistics: Path) -> Candidates:
    reading = Reading(batch_size=BATCH, num_workers=0)
    saved = load_fid_statistics(statistics)
    shifted = type(saved)(saved.mean + 0.01, saved.cov, saved.neurons, 0, saved.extractor)
    return Candidates(IMAGES, statistics, "fd", EXTRACTOR, others=[shifted], reading=reading)


def named(candidates: Candidates, result: Reconciliation) -> list[dict[str, object]]:
    fields = {choice.words: (choice.field, choice.value) for choice in candidates.choices}
    return [dict(fields[words] for words in attempt.choices) for attempt in result.explanations]


def test_the_protocol_agrees(candidates: Candidates) -> None:
    result = candidates.explain(claim(features(IMAGES)))
    assert result.agrees
    assert result.explanations == []
    assert result.verdict.startswith("Nothing to reconcile: fd is 6.6")
    assert len(result) == 1
    assert result.plain.value == pytest.approx(compare(REFERENCE, IMAGES, EXTRACTOR, metrics=["fd"])["fd"].value)


HIDDEN: dict[str, tuple[Callable[[], str], dict[str, object]]] = {
    "nearest": (lambda: claim(features(IMAGES, resize=NEAREST)), {"resize": "pillow_nearest"}),
    "Lanczos": (
        lambda: claim(features(IMAGES, resize=by_pillow(Image.Resampling.LANCZOS))),
        {"resize": "pillow_lanczos"},
    ),
    "bilinear": (lambda: claim(features(IMAGES, resize=by_torch(mode="bilinear"))), {"resize": "torch_bilinear"}),
    "bicubic": (lambda: claim(features(IMAGES, resize=by_torch(mode="bicubic"))), {"resize": "torch_bicubic"}),
    "JPEG": (lambda: claim(features(IMAGES, as_jpeg(75))), {"saved": "jpeg_75"}),
    "crop": (lambda: claim(features(IMAGES, lambda picture: picture[:, 12:84])), {"crop": "center"}),
    "BGR": (lambda: claim(features(IMAGES, flip=1)), {"channels": "BGR"}),
    "training mode": (lambda: claim(features(IMAGES, training=True)), {"by_batch": True}),
    "half": (lambda: claim(features(IMAGES[:25])), {"images": 25}),
    "division by n": (lambda: f"{distance(features(IMAGES), OF_REFERENCE, 0):.9f}", {"ddof": 0}),
    "square root": (lambda: f"{distance(features(IMAGES), OF_REFERENCE) ** 0.5:.9f}", {"root": True}),
    "statistics": (lambda: f"{distance(features(IMAGES), OF_REFERENCE + 0.01):.9f}", {"reference": 1}),
    "two": (
        lambda: f"{distance(features(IMAGES, resize=by_torch(mode='bilinear')), OF_REFERENCE, 0):.9f}",
        {"resize": "torch_bilinear", "ddof": 0},
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_choice_is_named(name: str, candidates: Candidates) -> None:
    make, hidden = HIDDEN[name]
    result = candidates.explain(make())
    assert named(candidates, result) == [hidden]
    assert " and ".join(result.explanations[0].choices[:1]) in result.verdict
    assert "would be explained, too" in result.verdict


@pytest.mark.parametrize(
    "edit", [lambda picture: 255 - picture, lambda picture: picture // 2, lambda picture: picture.transpose(1, 0, 2)]
)
def test_what_is_not_known_is_not_named(edit: Callable[[Picture], Picture], candidates: Candidates) -> None:
    result = candidates.explain(claim(features(IMAGES, edit)))
    assert not result.agrees
    assert result.explanations == []
    assert "No choice that was tried explains it. The nearest is " in result.verdict
    assert any(len(attempt.choices) == 2 for attempt in result.values())


def test_few_digits_leave_several(candidates: Candidates) -> None:
    exact = distance(features(IMAGES, resize=NEAREST), OF_REFERENCE)
    digits = next(n for n in range(6, 0, -1) if len(candidates.explain(f"{exact:.{n}g}").explanations) > 1)
    result = candidates.explain(f"{exact:.{digits}g}")
    assert {"resize": "pillow_nearest"} in named(candidates, result)
    assert "Any of these would do: " in result.verdict
    more = candidates.explain(f"{exact:.9f}")
    assert more.chance is not None
    assert result.chance is not None
    assert more.chance < result.chance


def test_another_sample_is_known_to_a_standard_error(candidates: Candidates) -> None:
    plain = distance(features(IMAGES), OF_REFERENCE)
    error = candidates.explain(f"{plain:.9f}").standard_error
    assert error is not None
    influence = [distance(features(IMAGES)[np.arange(50) != i], OF_REFERENCE) for i in range(50)]
    jackknife = (49 / 50 * np.square(np.array(influence) - np.mean(influence)).sum()) ** 0.5
    assert error == pytest.approx(jackknife, rel=0.2)
    near, far = f"{plain + 2.5 * error:.9f}", f"{plain + 3.1 * error:.9f}"
    assert candidates.explain(near, same_images=False).agrees
    assert not candidates.explain(far, same_images=False).agrees
    same = candidates.explain(near)
    assert not same.agrees
    assert same.explanations or "if the claimed one is of other images, there is nothing to reconcile" in same.verdict


def test_a_reference_of_images_is_measured_likewise(statistics: Path) -> None:
    bilinear = by_torch(mode="bilinear")
    for edit, resize, of_reference, hidden in (
        (np.asarray, bilinear, features(REFERENCE, resize=bilinear), "resized by torch, bilinear without antialiasing"),
        (as_jpeg(75), BICUBIC, OF_REFERENCE, "saved as JPEG of quality 75 first"),  # of the images alone
    ):
        value = distance(features(IMAGES, edit, resize), of_reference)
        result = reconcile(IMAGES, REFERENCE, f"{value:.9f}", "fd", EXTRACTOR, reading=Reading(num_workers=0))
        assert [attempt.name for attempt in result.explanations] == [f"images are {hidden}"]
    assert (
        reconcile(IMAGES, make_dna(REFERENCE, EXTRACTOR, kind="layer-gaussian"), value, "fd", EXTRACTOR).metric == "fd"
    )


def test_floats_may_have_been_cut_or_rounded(statistics: Path) -> None:
    floats = [np.float32(0.9) * image / np.float32(255) for image in IMAGES]
    resize = by_torch(mode="bicubic", antialias=True)
    extractor = DNAExtractor(NETWORK, layers=["body.2"], input_size=SIDE, resize="torch", mean=HALF, std=HALF)
    for to_bytes, hidden in ((np.rint, "rounded to bytes"), (np.floor, "cut to bytes")):
        images = [to_bytes(image * np.float32(255)).astype(np.uint8) for image in floats]
        value = distance(features(images, resize=resize), OF_REFERENCE)
        result = reconcile(floats, statistics, f"{value:.9f}", "fd", extractor, reading=Reading(num_workers=0))
        assert [hidden in attempt.name for attempt in result.explanations] == [True]


def test_the_network_stays_as_it_was(candidates: Candidates) -> None:
    before = {name: tensor.clone() for name, tensor in NETWORK.state_dict().items()}
    modes = [module.training for module in NETWORK.modules()]
    candidates.explain(claim(features(IMAGES, training=True)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in NETWORK.state_dict().items())
    assert [module.training for module in NETWORK.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in NETWORK.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"claimed": "twelve"}, "`claimed` expected to be a number above 0, such as 12.34, but got 'twelve'"),
        ({"claimed": -1.0}, "`claimed` expected to be a number above 0"),
        ({"metric": "kid"}, "`metric` expected to be fd of a layer, such as fid, but got 'kid'"),
        (
            {"feature": DNAExtractor(NETWORK, layers=["stem", "body.2"], input_size=SIDE), "reference": REFERENCE},
            "is of one layer; give one by `layers`, but got stem, body.2",
        ),
        (
            {"feature": DNAExtractor(Pixels(), layers=["mean"]), "reference": REFERENCE},
            "takes them as they are; give an extractor with an",
        ),
        (
            {"images": IMAGES[:10], "same_images": False},
            "that takes 3 images a side for each neuron, 24 for the widest",
        ),
        ({"others": [REFERENCE]}, "`others` expected to be files of statistics or DNAs, but got images"),
        ({"reference": make_dna(REFERENCE, EXTRACTOR, kind="gaussian")}, "covariances, but got a gaussian DNA"),
        ({"images": make_dna(IMAGES, EXTRACTOR, kind="layer-gaussian")}, "takes images, but got a DNA"),
    ],
)
def test_mistakes_are_told(
    arguments: dict[str, Any], message: str, statistics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"images": IMAGES, "reference": statistics, "claimed": "1.0", "metric": "fd", "feature": EXTRACTOR}
    monkeypatch.setattr("torchmetrics_dna.comparisons.claims.measure_prepared", pytest.fail)
    with pytest.raises(ValueError, match=message):
        reconcile(**settings | arguments)


def test_the_share_of_claims_that_are_explained_is_that_of_random_ones() -> None:
    rng = random.Random(0)
    plain = Attempt((), 5.0, 0.1)
    attempts = [Attempt(("x",), rng.uniform(3, 7), rng.uniform(0.01, 0.2)) for _ in range(9)]
    claims = [claim for claim in (rng.uniform(3, 7) for _ in range(100_000)) if abs(claim - 5) > 0.1]
    explained = [any(abs(each.value - claim) <= each.tolerance for each in attempts) for claim in claims]
    assert share_explained(plain, attempts, 6.0) == pytest.approx(sum(explained) / len(claims), abs=0.01)
