from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slowly
import torch
from networks import Outputs
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from torchmetrics_dna import DNAExtractor, NeuronWeights, make_dna, rank
from torchmetrics_dna.demo import blur, jpeg, photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.functional.flagging import outliers_in_folder
from torchmetrics_dna.functional.outlier_score import OutlierReference
from torchmetrics_dna.functional.outliers import gaussians_of_means, left_out_by_layer
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.singles import Ranking
from torchmetrics_dna.statistics.outliers import local_layer

LAYERS = ["block_0", "block_2"]
PHOTOS = photographs(10)
MIXED = [*PHOTOS[6:], *(blur(photo, strength=8) for photo in PHOTOS[6:])]


@pytest.fixture(scope="module")
def extractor() -> DNAExtractor:
    return DNAExtractor(layers=LAYERS)


def streamed(images: list[np.ndarray]) -> DataLoader:
    return DataLoader([np.moveaxis(image, -1, 0) for image in images], batch_size=3)


def convolutions(*layers: str) -> DNAExtractor:
    """A small network with random weights."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 8, 4), nn.Conv2d(16, 40, 3), nn.ReLU(), nn.Conv2d(40, 1280, 1))
    return DNAExtractor(network, layers=layers, input_size=64)


@pytest.fixture(scope="module")
def typical(extractor: DNAExtractor) -> list[HistogramDNA]:
    return [make_dna(photo, extractor) for photo in PHOTOS[:6]]


@pytest.fixture(scope="module")
def mixed(extractor: DNAExtractor) -> list[HistogramDNA]:
    return [make_dna(image, extractor) for image in MIXED]


@pytest.fixture(scope="module")
def reference(typical: list[HistogramDNA]) -> HistogramDNA:
    return sum(typical)


def emd(one: HistogramDNA, other: HistogramDNA) -> float:
    """dna-emd by numpy: the mean over neurons of the area between the cumulative shares."""
    shares = [dna.counts.numpy().cumsum(1) / dna.counts.numpy().sum(1, keepdims=True) for dna in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum(1).mean())


def test_scores_are_distances_of_single_images(reference: HistogramDNA, mixed: list[HistogramDNA]) -> None:
    ranking = rank(MIXED, reference, score="distance")
    assert ranking.table.header[:3] == ["rank", "dna-emd", "image"]
    assert sorted(ranking.numbers) == list(range(8))
    assert ranking.scores.tolist() == sorted(ranking.scores.tolist())
    for number, name, score in zip(ranking.numbers, ranking.names, ranking.scores, strict=True):
        assert float(score) == pytest.approx(emd(reference, mixed[number]), abs=1e-9)
        assert name == f"image {number}"
    assert ranking.rows(2)[0] == {"rank": 1, "image": ranking.names[0], "score": float(ranking.scores[0])}
    assert len(ranking.rows()) == 8


def test_a_contrast_is_the_difference_of_two_distances(
    reference: HistogramDNA, mixed: list[HistogramDNA], tmp_path: Path
) -> None:
    pool = sum(mixed)
    ranking = rank(MIXED, reference)
    assert ranking.contrast.digest == pool.digest
    for place, number in enumerate(ranking.numbers):
        distance = emd(reference, mixed[number])
        assert float(ranking.scores[place]) == pytest.approx(distance - emd(pool, mixed[number]), abs=1e-9)
        assert float(ranking.distances[place]) == pytest.approx(distance)
    assert set(ranking.rows()[0]) == {"rank", "image", "score", "dna_emd"}
    pool.save(tmp_path / "pool.dna.npz")
    for contrast in (tmp_path / "pool.dna.npz", MIXED):
        other = rank(MIXED, reference, contrast=contrast)
        assert other.numbers == ranking.numbers
        torch.testing.assert_close(other.scores, ranking.scores, rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match="`contrast` expected to be a HistogramDNA or images, but got GaussianDNA"):
        rank(MIXED, reference, contrast=make_dna(MIXED[:2], layers=LAYERS, kind="gaussian"))


def test_histograms_that_find_their_own_ranges(extractor: DNAExtractor) -> None:
    # of the size that the network takes, since files and tensors are resized by different code
    images, others = (
        torch.nn.functional.interpolate(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), size=224)
        for images in (MIXED, PHOTOS[:6])
    )
    ranking = rank(images, make_dna(others, extractor, ranges="auto"), extractor)
    of_images, of_others = extractor(images), extractor(others)
    to_reference, to_pool = slowly.realism(of_images, [of_others, of_images], None, 1000).mean(2)
    for values, expected in ((ranking.scores, to_reference - to_pool), (ranking.distances, to_reference)):
        np.testing.assert_allclose(values, expected[ranking.numbers], rtol=0, atol=1e-6)


def test_percentiles_among_the_reference(
    extractor: DNAExtractor, typical: list[HistogramDNA], mixed: list[HistogramDNA]
) -> None:
    left_out = [emd(sum(typical[:i] + typical[i + 1 :]), typical[i]) for i in range(6)]
    to_pool = [emd(sum(mixed), dna) for dna in typical]
    for name, own in (("distance", left_out), ("contrast", np.subtract(left_out, to_pool))):
        ranking = rank(MIXED, PHOTOS[:6], extractor, score=name)
        for score, percentile in zip(ranking.scores.tolist(), ranking.percentiles.tolist(), strict=True):
            assert percentile == pytest.approx(100 * np.mean([distance < score for distance in own]))
        assert ranking.rows()[0]["percentile"] == float(ranking.percentiles[0])
    assert rank(MIXED[:1], PHOTOS[0], extractor).percentiles is None  # of one image, none is left


def test_nearest_images_are_those_of_the_definition(extractor: DNAExtractor, tmp_path: Path) -> None:
    images = [PHOTOS[7], PHOTOS[8], PHOTOS[2]]
    ranking = rank(images, PHOTOS[:6], extractor, score="contrast", nearest=PHOTOS[:6])
    rows = {row["image"]: row for row in ranking.rows()}
    assert [rows[f"image {i}"]["copy"] for i in range(3)] == [False, False, True]
    means = torch.from_numpy(spatial_means(PHOTOS, extractor)["block_2"])
    apart = torch.cdist(means[:6], means)
    place = int(apart[:, 7].argmin())
    assert rows["image 0"]["nearest"] == f"image {place}"
    usual = apart[place, :6].sort().values[1]
    assert rows["image 0"]["nearest_ratio"] == pytest.approx(float(apart[:, 7].min() / usual), rel=1e-4)
    assert rows["image 2"]["nearest_ratio"] == pytest.approx(0, abs=1e-4)
    ranking.index.save(tmp_path / "x.features.npz")
    again = rank(images, make_dna(PHOTOS[:6], extractor), nearest=tmp_path / "x.features.npz")
    assert (again.nearest.names, again.index.digest) == (ranking.nearest.names, ranking.index.digest)
    for new, index in (
        (images, PHOTOS[:2]), (images, streamed(PHOTOS[:2])), (streamed(images), PHOTOS[:2]),
    ):  # fmt: skip
        assert set(rank(new, PHOTOS[:6], extractor, nearest=index).nearest.names) <= {"image 0", "image 1"}
    with pytest.raises(ValueError, match="their layers differ"):
        rank(images, PHOTOS[:6], layers=LAYERS[:1], nearest=ranking.index)


def test_changed_copies_are_told_from_variants(extractor: DNAExtractor, tmp_path: Path) -> None:
    """Compressed, resized, cropped by a fifth and mirrored ones, also within one folder; other colours are no copy."""
    photos = photographs(16)
    height, width = (side * 4 // 5 for side in photos[3].shape[:2])
    images = {
        "jpeg": jpeg(photos[0], 4),
        "crop": photos[3][8 : 8 + height, 20 : 20 + width],
        "mirror": photos[2][:, ::-1].copy(),
        "half": np.asarray(Image.fromarray(photos[1]).resize((width * 5 // 8, height * 5 // 8))),
        "other": photos[12],
        "colour": photos[4][..., ::-1] // 2 + 90,
    }
    for folder, some in (("index", dict(enumerate(photos[:12]))), ("new", images), ("both", {**images, 0: photos[0]})):
        (tmp_path / folder).mkdir()
        for name, image in some.items():
            Image.fromarray(image).save(tmp_path / folder / f"{name}.png")
    ranking = rank(tmp_path / "new", tmp_path / "index", extractor, nearest=str(tmp_path / "index") + "/")
    rows = {Path(row["image"]).stem: row for row in ranking.rows()}
    assert [name for name in images if rows[name]["copy"]] == ["jpeg", "crop", "mirror", "half"]
    for name, of in {"jpeg": 0, "crop": 3, "mirror": 2, "half": 1}.items():
        assert Path(rows[name]["nearest"]).stem == str(of)
        assert rows[name]["likeness"] > 0.97
    assert ranking.notices[-1].startswith("4 images of 6 look")
    likeness = [rows[Path(row[1]).stem]["likeness"] for row in ranking.tables[0].rows if row[0] == "copy"]
    assert likeness == sorted(likeness, reverse=True)
    both = tmp_path / "both"
    within = rank(both, tmp_path / "index", extractor, nearest=both)
    assert sorted(Path(row["image"]).stem for row in within.rows() if row["copy"]) == ["0", "jpeg"]


def test_a_pool_of_the_references_own_kind_is_told() -> None:
    photos = photographs(60)
    mixed = [*photos[:10], *(blur(photo, strength=8) for photo in photos[:20])]
    for pool, alike in ((photos[:30], True), (mixed, False)):
        ranking = rank(pool, photos[30:], layers=["block_0"], score="contrast")
        assert (ranking.p_value > 0.05) == alike
        assert [f"(p = {ranking.p_value:.2g})" in notice for notice in ranking.notices] == [True] * alike


def test_chosen_neurons(reference: HistogramDNA, mixed: list[HistogramDNA], tmp_path: Path) -> None:
    weights = NeuronWeights.of_neurons(
        torch.tensor([20]), reference.neurons, "efficientnet_lite0", reference.weights_digest
    )
    weights.save(tmp_path / "x.weights.npz")
    ranking = rank(MIXED[:2], reference, score="distance", neuron_weights=tmp_path / "x.weights.npz")
    assert float(ranking.scores[0]) == pytest.approx(
        float(reference.distances(mixed[ranking.numbers[0]])[20]), abs=1e-9
    )


def test_references_of_another_kind(reference: HistogramDNA) -> None:
    gaussian = make_dna(PHOTOS[:2], layers=LAYERS, kind="gaussian")
    for score, kind in ((None, "LayerGaussianDNA or"), ("contrast", "HistogramDNA or"), ("local", "images for")):
        with pytest.raises(TypeError, match=f"`reference` expected to be .*{kind} .*, but got GaussianDNA"):
            rank(MIXED, gaussian, score=score)
    other = NeuronWeights(torch.ones(1), reference.neurons.take(torch.tensor([0])), "efficientnet_lite0")
    with pytest.raises(ValueError, match="can't be used here, their layers differ: .*; they require `layers` "):
        rank(MIXED, reference, neuron_weights=other)
    assert isinstance(rank(np.stack(PHOTOS[:2]), PHOTOS[0], layers=["block_0"]), Ranking)


def spatial_means(images: list[np.ndarray], extractor: DNAExtractor) -> dict[str, np.ndarray]:
    batches = [extractor(torch.from_numpy(image.copy()).permute(2, 0, 1)[None]) for image in images]
    return {layer: np.concatenate([a[layer].double().mean((2, 3)).numpy() for a in batches]) for layer in batches[0]}


def test_outlier_scores_take_layers_of_up_to_512_neurons() -> None:
    extractor = convolutions("0", "2", "3")  # the last has too many neurons
    ranking = rank(MIXED, PHOTOS[:6], extractor)
    assert ranking.score == "outlier"
    means, reference_means = (spatial_means(images, extractor) for images in (MIXED, PHOTOS[:6]))
    images, own = (
        {layer: torch.from_numpy(of_side[layer]) for layer in ("0", "2")} for of_side in (means, reference_means)
    )
    properties, own_properties = (
        torch.cat([image_properties(torch.from_numpy(i.copy()).permute(2, 0, 1)[None]) for i in side])
        for side in (MIXED, PHOTOS[:6])
    )
    reference = OutlierReference(gaussians_of_means(own), left_out_by_layer(own), own_properties)
    expected = reference.scores(images, properties)
    np.testing.assert_allclose(ranking.scores, expected[ranking.numbers], rtol=1e-3)
    np.testing.assert_allclose(ranking.typical, reference.own_scores, rtol=1e-3)
    assert ranking.scores.tolist() == sorted(ranking.scores.tolist(), reverse=True)
    assert (ranking.outliers, ranking.outlier_test, ranking.flagged_names) == (None, None, [])
    assert ranking.verdict == "No image is flagged: the reference has 6 images, but at least 10 are needed."
    from_dna = rank(MIXED, make_dna(PHOTOS[:6], extractor, kind="layer-gaussian"), extractor)
    assert from_dna.numbers == ranking.numbers
    torch.testing.assert_close(from_dna.scores, ranking.scores, rtol=1e-9, atol=0)
    torch.testing.assert_close(from_dna.percentiles, ranking.percentiles)
    assert from_dna.outlier_test is None
    alone = rank(MIXED[:1], PHOTOS[:6], extractor)  # needs no pool
    assert float(alone.scores) == float(ranking.scores[ranking.numbers.index(0)])


def test_few_ruined_images_are_found(extractor: DNAExtractor, tmp_path: Path) -> None:
    photos = photographs(60)
    pool = photos[40:]
    clean = rank(pool, photos[:40], extractor)
    assert clean.outlier_test.p_value > 0.05
    assert f"{clean.outlier_test.p_value:.2g}" in clean.verdict
    assert f"can detect {clean.outlier_test.fewest} or more" in clean.verdict
    assert "flagged" not in clean.table.header
    pool[4], pool[11], pool[17] = blur(pool[4], strength=8), np.full_like(pool[11], 255), pool[17] * 0
    ranking = rank(pool, photos[:40], extractor)
    assert set(ranking.numbers[:3]) == {4, 11, 17}
    assert [row["image"] for row in ranking.rows(worst=2)] == ranking.names[:2]
    assert [row["image"] for row in ranking.rows(top=2)] == ranking.names[:-3:-1]
    assert clean.flagged_names == []
    by_number = dict(zip(ranking.numbers, ranking.names, strict=True))
    assert ranking.flagged_names == [by_number[number] for number in ranking.numbers if number in (11, 17)]
    assert ranking.reasons[17] == "is all black"
    for worst, count in ((None, 5), (1, 1), (2, 2), (3, 3), (30, 20)):  # one order, and no more than asked for
        table = ranking.table_of(worst=worst)
        assert [row[table.header.index("image")] for row in table.rows] == ranking.names[:count]
        assert any("order alone does not mean" in note for note in table.notes)
    best = ranking.table_of(top=3)
    assert [row[best.header.index("image")] for row in best.rows] == ranking.names[:-4:-1]
    sheet = ranking.plot(most=3)
    shown = [axis.get_xlabel().split("\n")[0] for axis in sheet.axes if axis.get_title().count(":")]
    assert shown == ranking.names[:3]
    named = [row for row in ranking.rows() if row["reason"]]
    assert [row["image"] for row in named] == ranking.flagged_names
    assert all(ranking.reasons[ranking.numbers[row["rank"] - 1]] == row["reason"] in ranking.verdict for row in named)
    assert ranking.to_dict()["outliers"] == ranking.outliers.to_dict()
    assert all(line in ranking._repr_html_() for line in ranking.verdict.splitlines())
    ranking.save(tmp_path / "x.ranking.npz")
    assert Ranking.load(tmp_path / "x.ranking.npz").verdict == ranking.verdict


def test_no_likeness_is_a_dash(extractor: DNAExtractor) -> None:
    black = np.zeros_like(PHOTOS[0])
    ranking = rank([black + 1, *PHOTOS[:2]], PHOTOS[2:5], extractor, nearest=[black, PHOTOS[1], black])
    table = ranking.table
    cells = {row[table.header.index("image")]: row[table.header.index("likeness")] for row in table.rows}
    likeness = {row["image"]: row["likeness"] for row in ranking.rows()}
    assert likeness["image 0"] == 0
    assert cells == {"image 0": "-", "image 1": f"{likeness['image 1']:.3f}", "image 2": "1.00"}


def test_local_scores_and_maps_are_those_of_numpy(extractor: DNAExtractor) -> None:
    spoilt = PHOTOS[7].copy()
    spoilt[:20, -20:] = (255, 0, 255)
    images = [PHOTOS[6], spoilt, PHOTOS[8]]
    ranking = rank(images, PHOTOS[:6], extractor, score="local")

    def places(image: np.ndarray) -> np.ndarray:
        """Means over 3 x 3 positions of block 2, the layer whose positions are 8 pixels apart."""
        values = extractor(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])["block_2"][0].double().numpy()
        padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        return np.nanmean(windows, (3, 4)).reshape(len(values), -1).T

    reference_places = np.concatenate([places(image) for image in PHOTOS[:6]])
    inverse = np.linalg.inv(np.cov(reference_places.T))  # of so many places that shrinking changes little
    maps = []
    for image in images:
        offsets = places(image) - reference_places.mean(0)
        maps.append(np.sqrt(np.einsum("pi,ij,pj->p", offsets, inverse, offsets) / 40).reshape(28, 28))
    np.testing.assert_allclose(ranking.scores, [maps[number].max() for number in ranking.numbers], rtol=0.02)
    assert (ranking.typical, ranking.numbers[0]) == (None, 1)
    shown = ranking.maps([0, 2])
    assert shown.shape == (2, 56, 56)
    for heat_map, place in zip(shown, (0, 2), strict=True):
        expected = np.kron(maps[ranking.numbers[place]], np.ones((2, 2)))
        np.testing.assert_allclose(heat_map, expected, rtol=0.05, atol=0.02)
    top, left = np.unravel_index(int(shown[0].argmax()), (56, 56))
    assert top < 14
    assert left > 42
    by_outlier = rank(images, PHOTOS[:6], extractor)  # shows the same maps
    torch.testing.assert_close(by_outlier.maps([by_outlier.numbers.index(1)])[0], shown[0])
    stream = rank(iter(images), PHOTOS[:6], extractor)
    with pytest.raises(ValueError, match="Maps take images that can be read again"):
        stream.maps([0])


def test_maps_of_distances_add_up(reference: HistogramDNA) -> None:
    for score in ("distance", "contrast"):
        ranking = rank(MIXED, reference, score=score)
        np.testing.assert_allclose(ranking.maps([0, 3]).mean((1, 2)), ranking.scores[[0, 3]], rtol=1e-6, atol=1e-6)


def test_the_score_fits_the_question(extractor: DNAExtractor, reference: HistogramDNA) -> None:
    assert rank(MIXED[:2], PHOTOS[:3], extractor).score == "outlier"
    for side, options in (
        (reference, {}),
        (PHOTOS[0], {}),
        (PHOTOS[:3], {"num_bins": 50}),
        (PHOTOS, {"contrast": MIXED}),
    ):
        assert rank(MIXED[:2], side, None if side is reference else extractor, **options).score == "contrast"
    for side, options, error, message in (
        (reference, {"score": "best"}, ValueError, "`score` expected to be one of .* but got 'best'"),
        (PHOTOS, {"score": "outlier", "num_bins": 50}, ValueError, "`num_bins` is not for the score 'outlier'"),
        (reference, {"score": "distance", "contrast": MIXED}, ValueError, "`contrast` is not for the score 'distance'"),
        (reference, {"score": "outlier"}, TypeError, "to be a LayerGaussianDNA or images, but got HistogramDNA"),
        (
            PHOTOS[0],
            {"score": "outlier", "feature": extractor},
            RuntimeError,
            "More than two images are required in the",
        ),
        (PHOTOS, {"score": "local", "feature": DNAExtractor("properties")}, ValueError, "but there is none among prop"),
    ):
        with pytest.raises(error, match=message):
            rank(MIXED, side, **options)


def grids(imgs: Tensor) -> dict[str, Tensor]:
    """One layer whose rows are 8 pixels apart, and one whose columns are by another measure."""
    pixels = imgs.float()
    return {"pooled": pixels.mean((2, 3)), "wide": pixels[:, :, ::8, ::4], "tall": pixels[:, :, ::2, ::32]}


def test_rows_are_measured_by_the_height() -> None:
    extractor = DNAExtractor(Outputs(grids), input_size=(40, 160), layers=["pooled", "tall", "wide"])
    layers = extractor(torch.zeros(1, 3, 40, 160, dtype=torch.uint8))
    assert [tuple(values.shape[2:]) for values in layers.values()] == [(), (20, 5), (5, 40)]
    assert local_layer(extractor) == "wide"


def test_a_network_may_take_floats_alone() -> None:
    assert local_layer(DNAExtractor(nn.Conv2d(5, 4, 3), channels=5)) == "output"


def test_duplicates_within_one_set_take_no_reference(extractor: DNAExtractor) -> None:
    images = [*PHOTOS[:4], jpeg(PHOTOS[1], strength=1)]
    ranking, named_twice = (
        rank(images, feature=extractor, nearest=images),
        rank(images, images, extractor, nearest=images),
    )
    assert (ranking.rows(), ranking.notices) == (named_twice.rows(), named_twice.notices)
    assert {row["image"]: row["nearest"] for row in ranking.rows() if row["copy"]} == {
        "image 1": "image 4", "image 4": "image 1",
    }  # fmt: skip
    alone = rank(images, feature=extractor)
    assert (alone.rows(), alone.is_alone) == (ranking.rows(), True)
    assert [sorted((row[1], row[2])) for row in alone.tables[0].rows if row[0] == "copy"] == [["image 1", "image 4"]]
    assert "With fewer than 15 images, only those of a single colour are flagged." in alone.verdict
    with pytest.raises(ValueError, match="`reference` expected .* but got None; pass it, or omit `score`"):
        rank(images, feature=extractor, score="local")


def test_what_is_odd_in_one_folder(extractor: DNAExtractor, tmp_path: Path) -> None:
    """The rule is that of its function; who has a reference with the same images gets the same."""
    images = [noisy(seed, 24 + seed % 3) for seed in range(44)]
    images[7], images[20], images[21] = images[7] * 0, images[20] // 12, images[21] // 12
    ranking = rank(images, feature=extractor)
    properties = torch.cat([image_properties(torch.from_numpy(i).permute(2, 0, 1)[None]) for i in images])
    odd = {each.image: each for each in outliers_in_folder(properties, level=None)}
    assert odd.keys() == ranking.reasons.keys() == {7, 20, 21}
    assert ranking.reasons[7] == "is all black"
    assert ranking.reasons[20].startswith("is much darker than all of the others (brightness 0.0")
    assert {ranking.outliers.numbers[place] for place in ranking.outliers.surely} == {
        each.image for each in outliers_in_folder(properties, 0.05)
    }  # fmt: skip
    assert ranking.verdict.startswith("3 of 44 images are flagged as outliers.")
    assert "image 7 is all black" in ranking.verdict
    assert (ranking.outliers.outlier_test, ranking.outlier_test, ranking.to_dict()["flagged"]) == (
        None,
        None,
        ranking.flagged_names,
    )
    assert not any(
        "the reference" in line for line in (*ranking.verdict.splitlines(), *ranking.notices, ranking.question)
    )
    order = [ranking.names.index(name) for name in ranking.flagged_names]
    assert order == sorted(order)
    ranking.save(tmp_path / "x.ranking.npz")
    assert Ranking.load(tmp_path / "x.ranking.npz").verdict == ranking.verdict
    part = rank(images[5:30], images, extractor)  # all are the reference's own
    assert {part.names[part.numbers.index(k - 5)]: reason for k, reason in ranking.reasons.items()} == {
        part.names[part.numbers.index(number)]: reason for number, reason in part.reasons.items()
    }  # fmt: skip
    foreign = rank([*images[:20], noisy(99, 24)], images, extractor)
    assert not foreign.is_alone
    bands = DNAExtractor(nn.Conv2d(5, 4, 3), channels=5, layers=["output"], input_size=8)
    without = rank(np.random.default_rng(0).random((20, 8, 8, 5), np.float32), feature=bands)
    assert "properties are only measured of grey and RGB images" in without.verdict


def noisy(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (side, side, 3), np.uint8)
