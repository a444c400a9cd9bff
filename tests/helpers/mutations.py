"""Damaged and forged files of every kind that is read, and the outcomes of reading them.

    python tests/helpers/mutations.py [--files 50000] [--seed 0] [--processes 2] [--of images] [--only tar]

Each file is a small good one with one change: on the bytes as they lie on the disk, or on what is in it. A reader must
refuse it with ValueError or OSError, in one line, within a second and 200 MB; or else

- where a checksum covers the change, give what the good file gives;
- where the checksum of a file of ours is made to fit again, so that the digest has to tell, give that too, but for
  remarks, which the digest leaves out: these as they are in the file;
- where nothing tells (json of ranges and of names, official pairs, files of ours whose digest is made to fit too), give
  exactly what a plain reading with json and numpy gives: there, a change can make another valid file;
- in what images are in, give something else only where the format has no checksum, which is counted.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dnas
import kinds
import numpy as np
import torch

from torchmetrics_dna import ActivationRanges, NeuronWeights, load_dna
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.changes import ChangeDictionary
from torchmetrics_dna.dna.codec import Stored
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.vdna import load_vdna, save_vdna
from torchmetrics_dna.files.container import content_digest
from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.images.base import Entry, unreadable
from torchmetrics_dna.images.pixels import to_rgb
from torchmetrics_dna.neurons import Neurons

Members = dict[str, bytes]
SECONDS, MEGABYTES = 1, 200
REMARKS = {"notes", "name"}
FOLDED = ("histogram", "self-ranging", "gaussian", "layer-gaussian")
WHOLE = Neurons({"block.0/conv-1": 3, "层": 2, "x": 1})  # official files hold whole layers

# --- files and their readers ------------------------------------------------------------------------------------------


@dataclass
class Subject:
    """Kind of file: functions that write a good one at a stem, read it, and read it without the package."""

    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    plain: Callable[[Path], dict[str, Any]] | None
    files: tuple[str, ...]
    packing: str = ""  # of what has a checksum: "zip", or "gzip" around a tar


def ours(value: Stored) -> Subject:
    read = load_dna if isinstance(value, DNA) else type(value).load
    path = lambda stem: stem.with_suffix(".npz")  # noqa: E731
    return Subject(
        lambda stem: value.save(path(stem)),
        lambda stem: read(path(stem)),
        lambda s: plain_container(path(s)),
        (".npz",),
    )


def pair(value: DNA | ActivationRanges) -> Subject:
    read = load_vdna if isinstance(value, ActivationRanges) else load_dna
    return Subject(lambda stem: save_vdna(value, stem), read, plain_pair, (".json", ".npz"))


def ranges(margin: str, name: str | None) -> Subject:
    value = ActivationRanges(torch.arange(6.0) - 3, torch.arange(6.0) / 0.7, WHOLE, margin, name)
    path = lambda stem: stem.with_suffix(".json")  # noqa: E731
    return Subject(
        lambda stem: value.save(path(stem)),
        lambda stem: ActivationRanges.load(path(stem)),
        lambda stem: plain_ranges(path(stem)),
        (".json",),
    )


def subjects() -> dict[str, Subject]:
    histogram, self_ranging, gaussian, layer_gaussian = dnas.every_kind()
    of_whole_layers = dnas.every_kind(WHOLE)
    weights = NeuronWeights(torch.arange(6) / 3, WHOLE, "tiny", "aa", "of nothing")
    random = torch.Generator().manual_seed(0)
    shifts, spread, content = (torch.randn(*shape, 6, generator=random).double() for shape in ((2, 3), (), (4,)))
    changes = ChangeDictionary(shifts, spread.abs(), content, ("blur", "ünïcode"), 30, WHOLE, "tiny", "aa")
    values = torch.randn(5, 3, generator=random)
    features = Features(values, Neurons({"../köpf": [1, 4, 5]}), "tiny", "aa", dnas.PREPARATION)
    names_of_images = [f"ü/{i}.png" for i in range(5)]
    named = Features(torch.cat([values, values * 2], 1), WHOLE, "tiny", "aa", names=names_of_images)
    folded = {f"{name}, in folds": ours(dna) for name, dna in zip(FOLDED, dnas.in_folds(), strict=True)}
    return folded | {
        "histogram": ours(histogram),
        "self-ranging": ours(self_ranging),
        "gaussian": ours(gaussian),
        "layer-gaussian": ours(layer_gaussian),
        "neuron weights": ours(weights),
        "changes": ours(changes),
        "features": ours(features),
        "features, named": ours(named),
        "ranges": ranges("widen", "mine"),
        "ranges, official": ranges("scale", None),
        "official histogram": pair(dnas.histogram(WHOLE, largest=2**31 - 1)),
        "official gaussian": pair(of_whole_layers[2]),
        "official layer-gaussian": pair(of_whole_layers[3]),
        "official activation-ranges": pair(dnas.ranges(WHOLE)),
    }


def images(make: Callable[[Path], object], suffix: str, packing: str = "") -> Subject:
    """Return the subject for a file of images, which ``make`` writes to a path."""
    path = lambda stem: stem.with_suffix(suffix)  # noqa: E731
    return Subject(lambda stem: make(path(stem)), lambda stem: read_images(path(stem)), None, (suffix,), packing)


def read_images(path: Path) -> dict[str, Any]:
    source = open_source(path)
    if isinstance(source, ImageSource):
        pairs = [(source.names[i], source[i]) for i in range(len(source))]
    else:
        pairs = [(entry.name, decoded(entry)) for entry in source]
    return {
        "names": [name.removeprefix(str(path)) for name, _ in pairs],
        "pixels": [f"{image.shape} {hashlib.sha256(image.tobytes()).hexdigest()}" for _, image in pairs],
    }


def decoded(entry: Entry) -> np.ndarray:
    try:
        if not isinstance(entry.image, Exception):
            return to_rgb(entry.image)
        fault = entry.image
    except Exception as err:
        fault = err
    raise ValueError(unreadable(entry.name, fault)) from fault


def of_images() -> dict[str, Subject]:
    statistics = {"mu": np.arange(5.0), "sigma": np.eye(5)}
    pax = {f"{'long' * 40}/{name}": content for name, content in kinds.FILES.items()}
    pixels = [kinds.PIXELS, np.arange(3)]
    moving = np.kron(kinds.PIXELS, np.ones((2, 2, 1), np.uint8))
    return {
        "mp4": images(lambda path: kinds.encoded(path, "mpeg4", moving), ".mp4"),
        "avi": images(lambda path: kinds.encoded(path, "mpeg4", moving), ".avi"),
        "webm": images(lambda path: kinds.encoded(path, "libvpx", moving), ".webm"),
        "tar": images(lambda path: kinds.tar(path, pax), ".tar"),
        "packed tar": images(lambda path: kinds.tar(path, pax, "w:gz"), ".tgz", "gzip"),
        "zip": images(lambda path: kinds.zipped(path.parent), ".zip"),  # whose directory has no checksum
        "parquet": images(lambda path: kinds.parquet(path.parent, nested=True), ".parquet"),
        "npz of images": images(lambda path: np.savez(path, *pixels), ".npz", "zip"),
        "packed npz of images": images(lambda path: np.savez_compressed(path, *pixels), ".npz", "zip"),
        "statistics of FID": Subject(
            lambda stem: np.savez(stem.with_suffix(".npz"), **statistics),
            lambda stem: load_dna(stem.with_suffix(".npz")),
            None,
            (".npz",),
            "zip",
        ),
    }


def value_of(read: Stored | ActivationRanges | dict[str, Any]) -> dict[str, Any]:
    """Return all that was read, as plain values."""
    if isinstance(read, dict):
        return read
    value = {"layers": [[layer, list(read.neurons.numbers(layer))] for layer in read.neurons]}
    if isinstance(read, ActivationRanges):
        return value | {"low": read.minimum, "high": read.maximum, "margin": read.margin, "name": read.name}
    if isinstance(read, (ChangeDictionary, Features)):
        value |= {"extractor": read.extractor, "weights": read.weights_digest}
    if isinstance(read, Features):
        numbers = {"values": read.values, "num_images": read.num_images}
        return value | numbers | {"preparation": read.preparation, "names": list(read.names)}
    if isinstance(read, ChangeDictionary):
        numbers = {"shifts": read.shifts, "spread": read.spread, "content": read.content}
        return value | numbers | {"changes": list(read.names), "num_images": read.num_images}
    if isinstance(read, NeuronWeights):
        about = {"extractor": read.extractor, "weights": read.weights_digest, "notes": read.name}
        return value | about | {"weight": read.weights}
    assert isinstance(read, DNA)
    fields = ("kind", "num_images", "extractor", "preparation", "notes")
    value |= {name: getattr(read, name) for name in fields} | {"weights": read.weights_digest} | dnas.tensors(read)
    for k, fold in enumerate(read.folds):
        value |= {f"folds/{k}/{name}": of_fold for name, of_fold in value_of(fold).items()}
    bounds = getattr(read, "ranges", None)
    return value | ({"margin": bounds.margin, "name": bounds.name} if bounds else {})


def plain_ranges(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    ends = [content["mins_per_neuron"], content["maxs_per_neuron"]]
    layers = {layer: len(values) for layer, values in ends[0].items()}
    low, high = ([end[layer][str(i)] for layer, n in layers.items() for i in range(n)] for end in ends)
    about = {"margin": content.get("margin", "scale"), "name": content.get("name")}
    return {"layers": [[layer, list(range(n))] for layer, n in layers.items()], "low": low, "high": high} | about


def plain_pair(stem: Path) -> dict[str, Any]:
    about = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    layers, kind = about["neurons_list"], about["type"]
    value = {"layers": [[layer, list(range(n))] for layer, n in layers.items()]}
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as file:
        join = lambda prefix: np.concatenate([file[prefix + layer] for layer in layers])  # noqa: E731
        if kind == "activation-ranges":
            return value | {"low": join("min-"), "high": join("max-"), "margin": "scale", "name": None}
        settings = about["data_settings"]
        value |= {"kind": kind, "num_images": about["num_images"], "extractor": about["feature_extractor_name"]}
        value["preparation"] = {"resize": settings["resize_mode"], "crop": settings["crop_to_square_pre_resize"]}
        if kind == "histogram":
            return value | {"counts": join("")}
        if kind == "gaussian":
            return value | {"mean": join("mu-"), "var": join("var-")}
        halves = {layer: file[f"sigma-{layer}"] for layer in layers}
        return value | {"mean": join("mu-")} | {layer: (half + half.T) / 2 for layer, half in halves.items()}


def plain_container(path: Path) -> dict[str, Any]:
    """Read a container by the instructions of docs/format.md."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["dna.json"])
        arrays = {name: file[f"{name}.npy"] for name in header["arrays"]}
    value = _plain(header, header["dna"], arrays)
    for k, own in enumerate(header["dna"].get("folds", [])):
        prefix = f"folds/{k}/"
        inner = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        of_fold = _plain({**header, "notes": ""}, {**header["dna"], **own}, {**arrays, **inner})
        value |= {f"{prefix}{name}": tensor for name, tensor in of_fold.items()}
    return value


def _plain(header: dict[str, Any], about: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    layers = [[layer, list(range(n)) if type(n) is int else n] for layer, n in about["layers"]]
    join = lambda name: np.concatenate([arrays[f"{name}/{quote(layer, safe='')}"] for layer, _ in layers])  # noqa: E731
    value = {"layers": layers, "extractor": about["extractor"], "weights": about["weights"]}
    if about["kind"] == "changes":
        shifts = join("shift").T.reshape(len(about["changes"]), -1, sum(len(n) for _, n in layers))
        value |= {"shifts": shifts, "spread": join("spread"), "content": join("content").T}
        return value | {name: about[name] for name in ("changes", "num_images")}
    if about["kind"] == "features":
        value |= {name: about[name] for name in ("num_images", "preparation")}
        values = [arrays[f"features/{quote(layer, safe='')}"].view("<f4") for layer, _ in layers]
        listed = json.loads(arrays["names"].tobytes()) if "names" in arrays else []
        return value | {"values": np.concatenate(values, 1), "names": listed}
    value["notes"] = header.get("notes", "")
    if about["kind"] == "neuron-weights":
        return value | {"weight": join("weight")}
    value |= {name: about[name] for name in ("kind", "num_images", "preparation")}
    if about["kind"] == "gaussian":
        return value | {"mean": join("mean"), "var": join("var")}
    if about["kind"] == "layer-gaussian":
        cov = {layer: arrays[f"cov/{quote(layer, safe='')}"] for layer, _ in layers}
        return value | {"mean": join("mean")} | {layer: _full(cov[layer], len(n)) for layer, n in layers}
    planes = [arrays[f"counts/{quote(layer, safe='')}"] for layer, _ in layers]
    value["counts"] = np.concatenate([np.tensordot(256 ** np.arange(len(part)), part, 1) for part in planes])
    if about["ranges"] is None:
        return value
    margin = {"margin": about["ranges"]["margin"], "name": header.get("ranges_name")}
    return value | margin | {"low": join("minimum"), "high": join("maximum")}


def _full(triangle: np.ndarray, n: int) -> np.ndarray:
    half = np.zeros((n, n))
    half[np.triu_indices(n)] = triangle
    return half + np.triu(half, 1).T


def same(value: dict[str, Any], expected: dict[str, Any]) -> bool:
    """True if all expected entries are there, of the same types, to the last bit."""
    return all(name in value and _equal(value[name], expected_value) for name, expected_value in expected.items())


def _equal(actual: Any, expected: Any) -> bool:
    if isinstance(actual, torch.Tensor):
        return np.array_equal(actual.numpy(), np.asarray(expected).astype(actual.numpy().dtype))
    return json.dumps(actual, sort_keys=True) == json.dumps(expected, sort_keys=True)


# --- changes ----------------------------------------------------------------------------------------------------------


def mutated(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage bytes in one of the ways that occur on disks and networks."""
    at = rng.randrange(len(content) + 1)
    end = at + rng.randrange(1, 600)
    mutation = rng.choice(("cut", "bit", "bytes", "lost", "swapped", "zeros", "zeroed", "more"))
    if mutation == "bit":
        at = min(at, len(content) - 1)
        return mutation, content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if mutation == "swapped":
        a, b = sorted(rng.sample(range(max(2, len(content) // 16)), 2))
        block = lambda i: content[16 * i : 16 * i + 16]  # noqa: E731
        between = content[16 * a + 16 : 16 * b]
        return mutation, content[: 16 * a] + block(b) + between + block(a) + content[16 * b + 16 :]
    rest = {
        "cut": b"",
        "bytes": rng.randbytes(rng.randrange(1, 40)) + content[at + rng.randrange(40) :],
        "lost": content[end:],
        "zeros": bytes(end - at) + content[at:],
        "zeroed": bytes(len(content[at:end])) + content[end:],
        "more": content[at:] + rng.randbytes(end - at),
    }
    return mutation, content[:at] + rest[mutation]


VALUES = """
    0 1 -1 7 12.5 -0.0 NaN Infinity -Infinity 1e999 2147483648 9223372036854775807 9223372036854775808
    true null "" "1" "a" [] {} [[]] [0] [1,4] {"a":1} "auto" "scale" "\\ud800"
"""
DEEP = 100_000
TOKENS = (
    *VALUES.split(),
    *(digit + "0" * zeros for digit in ("1", "-1") for zeros in (6, 12, 18, 30, 400, 5000)),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP, '"' + "x" * DEEP + '"'),
)


def mutated_json(text: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Replace a value or key of json by one that reads otherwise, or drop or repeat it."""
    tree = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(tree)
    node, key = rng.choice(places)
    mutation, token = rng.choice(("value", "value", "value", "left out", "key", "twice")), rng.choice(TOKENS)
    if mutation in ("key", "twice") and isinstance(node, dict):
        old = node.pop(key) if mutation == "key" else node[key]
        node["@@key"] = old
        name = rng.choice([*node, "0", "1", "-1", "1_0", " 1", "x"]) if mutation == "key" else key
        return mutation, json.dumps(tree).replace('"@@key"', json.dumps(name)).encode()
    if mutation == "left out":
        del node[key]
        return mutation, json.dumps(tree).encode()
    node[key] = "@@value"
    return "value", json.dumps(tree).replace('"@@value"', token).encode()


HEADERS = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3L,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 400 + ",), }",
    "{'descr': '<U" + "9" * 20 + "', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': '''",
    "(" * 9000,
    "-" * 9000 + "1",
    "\0" * 100,
    "",
)


def mutated_npy(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Replace the header or a number of an array, or damage its bytes."""
    mutation = rng.choice(("header", "number", "number", "inner bytes"))
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False).copy()
    except ValueError:
        mutation = "inner bytes"  # not an array
    if mutation == "inner bytes":
        return mutation, mutated(content, rng)[1]
    if mutation == "header":
        text = rng.choice(HEADERS).encode()
        return mutation, content[:8] + len(text).to_bytes(2, "little") + text + content[10:]
    with np.errstate(all="ignore"):
        number = np.array(rng.choice([np.nan, np.inf, -np.inf, -1, 0, 1, 1e300, -1e-9, 2**31])).astype(array.dtype)
    array.flat[rng.randrange(array.size)] = number
    return mutation, npy(array)


def mutated_members(members: Members, rng: random.Random) -> tuple[str, Members]:
    """Change one of the members of an archive, or swap two."""
    mutation = rng.choice(("one", "one", "one", "members swapped", "member left out"))
    member, second = rng.sample(list(members), 2)
    if mutation == "members swapped":
        return mutation, members | {member: members[second], second: members[member]}
    if mutation == "member left out":
        return mutation, {name: content for name, content in members.items() if name != member}
    member = rng.choice([member, "dna.json"]) if "dna.json" in members else member
    mutation, content = (mutated_json if member.endswith(".json") else mutated_npy)(members[member], rng)
    return mutation, members | {member: content}


def with_digest(members: Members) -> Members:
    """Update the digest to that of the content, if it can still be computed."""
    try:
        header = json.loads(members["dna.json"])
        names = list(header["arrays"])
        arrays = {name: np.lib.format.read_array(io.BytesIO(members[f"{name}.npy"])) for name in names}
        header["arrays"] = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
        if isinstance(header["dna"].get("ranges"), dict):
            header["dna"]["ranges"]["digest"] = _ranges_digest(header["dna"], arrays)
        header["digest"] = content_digest(header["dna"], arrays)
        return members | {"dna.json": json.dumps(header).encode()}
    except Exception:  # whatever the change has made of it
        return members


def _ranges_digest(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    ends = [
        [arrays[f"{name}/{quote(layer, safe='')}"] for layer, _ in about["layers"]] for name in ("minimum", "maximum")
    ]
    low, high = (torch.from_numpy(np.concatenate(end)) for end in ends)
    return ActivationRanges(low, high, Neurons(dict(about["layers"])), about["ranges"]["margin"]).digest


def unzipped(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive that ends in its checksum, like those of the package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"sha256:" + b"0" * 64
    content = buffer.getvalue()[:-64]
    return content + hashlib.sha256(content).hexdigest().encode()


def npy(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def change(content: bytes, suffix: str, packing: str, rng: random.Random) -> tuple[str, bytes, str]:
    """Mutate a file; return the name of the mutation, the new content, and the check that detects it."""
    inner = suffix == ".json" or packing or zipfile.is_zipfile(io.BytesIO(content))
    if rng.random() < 0.4 or not inner:
        has_checksum = packing or content[-71:].startswith(b"sha256:")
        return *mutated(content, rng), "checksum" if has_checksum else "nothing"
    if suffix == ".json":
        return *mutated_json(content, rng), "nothing"
    if packing == "gzip":
        mutation, changed = mutated(gzip.decompress(content), rng)
        return f"{mutation} inside", gzip.compress(changed, 1), "nothing"
    members = unzipped(content)
    mutation, members = mutated_members(members, rng)
    if "dna.json" not in unzipped(content):
        return (
            mutation,
            zipped(members, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])),
            "nothing",
        )
    if rng.random() < 0.5:
        return f"{mutation}, digest too", zipped(with_digest(members)), "nothing"
    return mutation, zipped(members), "digest"


# --- what becomes of them ---------------------------------------------------------------------------------------------


@dataclass
class Summary:
    """Outcomes of mutated files."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[float, str] = (0.0, "")

    def add(self, other: Summary) -> None:
        self.outcomes.update(other.outcomes)
        self.ways.update(other.ways)
        self.wrong += other.wrong
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)


class Stuck(BaseException):
    """The reader does not return in time."""


def _stop(*_: object) -> None:
    raise Stuck


def outcome(subject: Subject, stem: Path, original: dict[str, Any], detected_by: str) -> str:
    """Read the file at a stem and classify the outcome; AssertionError if it is wrong."""
    try:
        read = subject.read(stem)
        value = value_of(read)
    except (ValueError, OSError) as err:
        message = str(err)
        if "\n" in message or str(stem.parent) not in message or len(message) > 1000:
            raise AssertionError(f"it is not said in one line which file is wrong: {message}") from err
        return "refused"
    if same(value, original):
        return "as it was"
    if isinstance(read, DNA):
        check_distance_to_itself(read)
    facts = {name for name in original if name.rpartition("/")[2] not in REMARKS}  # those of folds too
    covered = {"checksum": set(original), "digest": facts, "nothing": set()}[detected_by]
    assert same(value, {name: original[name] for name in covered}), "accepted, and not what it was"
    assert subject.plain is None or same(value, subject.plain(stem)), "accepted, and not what is in it"
    return "another value" if len(value.get("names", ())) == len(original.get("names", ())) else "another number"


def check_distance_to_itself(dna: DNA) -> None:
    """Assert that every distance of a DNA to itself is finite, or refused with an error."""
    for record in DISTANCES.values():
        if dna.kind in record.kinds:
            with suppress(ValueError, RuntimeError):  # too few images, or a neuron without counts
                distances = record.result(dna, dna, with_evidence=False).values
                assert distances.isfinite().all(), f"accepted, and {record.name} to itself is not finite"


def run(numbers: range, seed: int, group: str, only: str) -> Summary:
    """Make and read the files with these numbers, deterministically."""
    result = Summary()
    chosen = {name: subject for name, subject in SUBJECTS[group]().items() if only in name}
    signal.signal(signal.SIGALRM, _stop)
    warnings.simplefilter("ignore")  # numpy's, of headers that look as if written by Python 2
    with tempfile.TemporaryDirectory() as folder:
        good, bad = Path(folder, "good"), Path(folder, "bad")
        originals = {}
        for name, subject in chosen.items():
            for path in (good, bad):
                path.joinpath(name).mkdir(parents=True)
                subject.write(path / name / "x")
            originals[name] = value_of(subject.read(good / name / "x"))
            assert subject.plain is None or same(originals[name], subject.plain(good / name / "x")), name
        before = _peak()
        for i in numbers:
            name = list(chosen)[i % len(chosen)]
            mutate_and_read(result, i, name, chosen[name], (good / name / "x", bad / name / "x"), originals[name], seed)
            result.largest = max(result.largest, (_peak() - before, f"{i} {name}"))
    return result


def mutate_and_read(
    result: Summary, i: int, name: str, subject: Subject, stems: tuple[Path, Path], original: dict[str, Any], seed: int
) -> None:
    rng = random.Random(f"{seed} {i}")
    suffix = rng.choice(subject.files)
    good, bad = (stem.with_suffix(suffix) for stem in stems)
    mutation, changed, detected_by = change(good.read_bytes(), suffix, subject.packing, rng)
    bad.write_bytes(changed)
    start = time.process_time()
    signal.alarm(10)
    try:
        result_of_read = outcome(subject, stems[1], original, detected_by)
    except (Exception, Stuck) as err:
        result_of_read = "WRONG"
        result.wrong.append(f"{i} {name}, {mutation}: {type(err).__name__}: {str(err)[:300]}")
    signal.alarm(0)
    seconds = time.process_time() - start
    shutil.copy(good, bad)
    result.outcomes[name, result_of_read] += 1
    result.ways[f"{mutation}: {result_of_read}"] += 1
    result.slowest = max(result.slowest, (seconds, f"{i} {name}, {mutation}"))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


SUBJECTS = {"dnas": subjects, "images": of_images}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--of", choices=SUBJECTS, default="dnas")
    parser.add_argument("--only", default="", help="kinds with this in their names")
    parser.add_argument("--ways", action="store_true", help="count by change, too")
    arguments = parser.parse_args()
    step, total = max(1, min(500, arguments.files // arguments.processes)), Summary()
    jobs = [
        (range(first, min(first + step, arguments.files)), arguments.seed, arguments.of, arguments.only)
        for first in range(0, arguments.files, step)
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for part in pool.starmap(run, jobs, chunksize=1):
            total.add(part)
    columns = ("refused", "as it was", "another value", "another number", "WRONG")
    print(f"{'':27}", *(f"{column:>14}" for column in columns))
    for name in dict.fromkeys(name for name, _ in sorted(total.outcomes)):
        print(f"{name:27}", *(f"{total.outcomes[name, column]:>14,}" for column in columns))
    if arguments.ways:
        print(*(f"{mutation:45}{count:>8,}" for mutation, count in sorted(total.ways.items())), sep="\n")
    print(f"slowest: {total.slowest[0]:.3f} s of processor time ({total.slowest[1]})")
    print(f"largest: {total.largest[0]:.0f} MB more than reading good files ({total.largest[1]})")
    print(*total.wrong, sep="\n")
    return int(bool(total.wrong) or total.slowest[0] > SECONDS or total.largest[0] > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
