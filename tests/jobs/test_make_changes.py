"""Dictionaries of changes: their values, files and explanations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from torchmetrics_dna import DNAEMD, DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna.changes import ChangeDictionary, changes_for
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.changes import CHANGES, STRENGTHS, change_image
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.make_changes import ChangedImages, make_changes
from torchmetrics_dna.neurons import Neurons

PHOTOS = [np.asarray(Image.fromarray(photo).resize((48, 48))) for photo in photographs(24)]


class Edges(nn.Module):
    """Three neurons that see detail, brightness and colour."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = nn.Conv2d(3, 1, 3, bias=False)
        self.colours = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.detail.weight.copy_(torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(1, 3, 3, 3) / 3)
            self.colours.weight.copy_(torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1.0, 0, -1]])[..., None, None])

    def forward(self, imgs: torch.Tensor) -> torch.Tensor:
        return self.detail(imgs).abs().mean() + self.colours(imgs).mean()


@pytest.fixture(scope="module")
def extractor() -> DNAExtractor:
    return DNAExtractor(Edges(), layers=["detail", "colours"], input_size=48)


@pytest.fixture(scope="module")
def dictionary(extractor: DNAExtractor) -> ChangeDictionary:
    return make_changes(PHOTOS, extractor)


def test_shifts_are_those_of_changed_images(dictionary: ChangeDictionary, extractor: DNAExtractor) -> None:
    assert (dictionary.names, dictionary.shifts.shape[1], dictionary.num_images) == (tuple(CHANGES), len(STRENGTHS), 24)

    def mean_of(pictures: list[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        return np.concatenate([values.double().mean((0, 2, 3)).numpy() for values in extractor(batch).values()])

    source = open_source(PHOTOS[:2])
    assert list(ChangedImages(source).names) == [name for name in source.names for _ in range(111)]
    for change, strength in (("blur", 3), ("noise", 1), ("less saturation", 5)):
        place = 1 + list(CHANGES).index(change) * 5 + strength - 1
        seeds = [i * 111 + place for i in range(24)]
        pairs = zip(PHOTOS, seeds, strict=True)
        shift = mean_of([change_image(photo, change, strength, seed) for photo, seed in pairs]) - mean_of(PHOTOS)
        measured = dictionary.shifts[dictionary.names.index(change), strength - 1].numpy()
        np.testing.assert_allclose(measured, shift, rtol=1e-3, atol=1e-3)
    means = np.stack([mean_of([photo]) for photo in PHOTOS])
    np.testing.assert_allclose(dictionary.spread.numpy(), means.std(0, ddof=1), rtol=1e-3)


def test_a_file_gives_it_back(dictionary: ChangeDictionary, tmp_path: Path) -> None:
    dictionary.save(tmp_path / "x.changes.npz")
    loaded = ChangeDictionary.load(tmp_path / "x.changes.npz")
    for name in ("shifts", "spread", "content"):
        assert torch.equal(getattr(loaded, name), getattr(dictionary, name))
    assert (loaded.names, loaded.neurons, loaded.extractor) == (
        dictionary.names,
        dictionary.neurons,
        dictionary.extractor,
    )
    assert (loaded.num_images, loaded.weights_digest) == (24, dictionary.weights_digest)
    assert repr(loaded) == f"ChangeDictionary(22 changes in 5 strengths, 24 images, {dictionary.extractor!r})"
    dna = make_dna(PHOTOS[:2], layers=["block_0"])
    dna.save(tmp_path / "x.dna.npz")
    with pytest.raises(ValueError, match="x.dna.npz' holds 'histogram', expected 'changes'"):
        ChangeDictionary.load(tmp_path / "x.dna.npz")
    with pytest.raises(ValueError, match="can't be used here.*extractors"):
        changes_for(tmp_path / "x.changes.npz", "efficientnet_lite0")
    with pytest.raises(ValueError, match=r"^Shifts expected to have shape \(3, strengths, 3\), .* but got \(2, 5, 3\)"):
        replace(dictionary, names=dictionary.names[:3], neurons=Neurons({"x": 3}), shifts=dictionary.shifts[:2])
    for damage in ({"spread": dictionary.spread * 0}, {"shifts": dictionary.shifts / 0}):
        with pytest.raises(ValueError, match="^Expected finite shifts, spread and content, and a spread above 0"):
            replace(dictionary, **damage)


def test_what_can_be_wrong_is_said(extractor: DNAExtractor) -> None:
    with pytest.raises(ValueError, match="^A dictionary of changes takes at least 20 images, but got 3"):
        make_changes(PHOTOS[:3], extractor)
    with pytest.raises(ValueError, match="leave `properties` out"):
        make_changes(PHOTOS, DNAExtractor(properties=True))


def test_a_dictionary_of_ones_own_explains(dictionary: ChangeDictionary, extractor: DNAExtractor) -> None:
    grey = [change_image(photo, "less saturation", 4) for photo in PHOTOS]
    result = compare(PHOTOS, grey, extractor, changes=dictionary, num_folds=None)
    fit = dictionary.fit(result.mean_shift, result.neurons)
    assert (
        float(fit.alone[list(CHANGES).index("less saturation")]) < 0.05
    )  # few others can be told from it by 3 neurons
    explanation = result.explain(("mine", "yours"))
    assert 1 - explanation.unexplained > 0.95
    assert f"yours looks like mine after {explanation.changes[0].in_words}" in str(explanation)
    metric = DNAEMD(extractor)
    images, changed = (torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) for photos in (PHOTOS, grey))
    metric.update(images, real=True)
    metric.update(changed, real=False)
    (change,) = metric.explain(dictionary).changes
    assert change == (explanation.changes[0].name, pytest.approx(explanation.changes[0].strength, abs=0.01))
    assert metric.explain().changes is None  # nothing is packaged with this network
    assert str(metric.explain()) == "No words are known for what differs between real and fake."
    # layers that it does not know are left out, and with none left there are no words
    assert dictionary.explain(torch.zeros(2), Neurons({"other": 2})) is None


def test_the_packaged_one_names_what_was_done() -> None:
    packaged = changes_for(None, "efficientnet_lite0")
    assert packaged is not None
    extractor = DNAExtractor()
    assert (packaged.neurons, packaged.weights_digest) == (extractor.neurons, extractor.weights_digest)
    assert changes_for(None, "efficientnet_lite0", "0" * 16) is None
    photos = photographs(40)
    for name, strength in (("blur", 3), ("elastic distortion", 3)):
        changed = [change_image(photo, name, strength, seed) for seed, photo in enumerate(photos)]
        explanation = compare(photos[:20], changed[:20], num_folds=None).explain()
        assert explanation.changes[0] == (name, pytest.approx(strength, abs=0.8))
        assert 0 < explanation.unexplained < 0.5
    alike = compare(photos[:20], photos[20:]).explain()
    assert alike.differs is False
    assert (alike.changes, alike.properties) == ([], [])
    assert str(alike).startswith("No difference between A and B can be shown (p = ")


def test_properties_come_first() -> None:
    photos = photographs(40)
    changed = [change_image(photo, "blur", 4) for photo in photos[20:]]
    comparison = compare(photos[:20], changed, DNAExtractor(properties=True))
    explained = comparison.explain(("A", "B"))
    assert explained.properties[0].name in ("sharpness", "fine detail")
    assert explained.properties[0].effect < 0
    assert explained.sentences[0].startswith("B looks like A after a blur of about ")
    assert explained.sentences[1].startswith("Images of B against those of A: ")
    assert "sharpness lower (" in explained.sentences[1]
    assert comparison.to_dict()["words"] == explained.sentences
    # a metric finds the same ones
    metric = DNAEMD(DNAExtractor(properties=True), num_folds=20)
    for images, real in ((photos[:20], True), (changed, False)):
        metric.update(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), real)
    by_metric = metric.explain()
    assert by_metric.properties[0].name == explained.properties[0].name
    assert "it looks like real after a blur of about " in str(by_metric)
    # without a test, by size; and without a network
    without_network = compare(photos[:20], changed, LAYER, num_folds=None).explain()
    assert without_network.properties[0].name in ("sharpness", "fine detail")
    assert (without_network.p_value, without_network.changes, without_network.properties[0].q) == (None, None, None)


class Unsteady(Dataset):
    """Photographs of which one can't be read for the first time."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return len(PHOTOS)

    def __getitem__(self, index: int) -> np.ndarray:
        self.reads += index == 5
        if index == 5 and self.reads == 1:
            raise OSError
        return PHOTOS[index]


def test_an_image_of_which_a_version_is_missing_is_left_out(extractor: DNAExtractor) -> None:
    reading = Reading(num_workers=0, skip_unreadable=True)
    dictionary = make_changes(Unsteady(), extractor, reading=reading)
    expected = make_changes(PHOTOS[:5] + PHOTOS[6:], extractor)
    change = dictionary.names.index("blur")
    assert dictionary.num_images == expected.num_images == 23
    torch.testing.assert_close(dictionary.shifts[change], expected.shifts[change])
