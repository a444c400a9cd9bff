"""What a DNA file holds, told by its json and its arrays: torch, which takes seconds to load, is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.codec import array_name
from torchmetrics_dna.dna.paths import check_there
from torchmetrics_dna.dna.planes import check_planes, largest_count
from torchmetrics_dna.files.container import Arrays, content_digest, is_container, read_container
from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.files.download import PREFIX
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.neurons.index import Neurons

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = ("histogram", "gaussian", "layer-gaussian")


def describe(path: str, ranges: str | None = None) -> dict[str, Any]:
    """What a DNA file of any kind holds, in json's types, once it is certain that it is whole.

    Args:
        path: As :func:`load_dna` takes it.
        ranges: File of activation ranges, for official histograms.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub or an address can't be read.
        ValueError: If it is no DNA file, or a damaged one.

    """
    if not is_address(path) and not path.startswith(PREFIX):
        check_there(path)
        if ranges is None and Path(path).is_file() and is_container(path):
            header, arrays = read_container(path)
            with refusing(path, "a DNA file"):
                if header["dna"]["kind"] in _KINDS:
                    return _described(header["dna"], arrays, header)
    from torchmetrics_dna.dna.load import load_dna

    dna = load_dna(path, ranges)
    with refusing(path, "a DNA file"):
        return _described(*dna._encode_all())


def _described(dna: Mapping[str, Any], arrays: Arrays, remarks: Mapping[str, Any]) -> dict[str, Any]:
    """Likewise, of what a file is encoded from."""
    whole = {name: array for name, array in arrays.items() if not name.startswith("folds/")}
    neurons = Neurons.from_list(dna["layers"])
    found = {
        "kind": dna["kind"],
        "digest": content_digest({key: value for key, value in dna.items() if key != "folds"}, whole),
        "extractor": dna["extractor"],
        "weights_digest": dna["weights"],
        "preparation": dna["preparation"],
        "num_images": dna["num_images"],
        "num_folds": len(dna.get("folds", [])),
        "num_neurons": neurons.total,
    }
    layers = {layer: {"neurons": width} for layer, width in neurons.items()}
    if dna["kind"] == "histogram":
        known = dna["ranges"]
        found["num_bins"] = dna["num_bins"]
        found["ranges"] = known and {
            "name": remarks.get("ranges_name"),
            "digest": known["digest"],
            "margin": known["margin"],
        }
        for layer, width in neurons.items():
            planes = arrays[array_name("counts", layer)]
            check_planes(planes, (width, dna["num_bins"]), dna["num_values"][layer])
            layers[layer] |= {"values": dna["num_values"][layer], "largest count": largest_count(planes)}
    if dna["kind"] == "gaussian":
        found["statistics"] = dna["statistics"]
    return {**found, "notes": remarks.get("notes", ""), "layers": layers}
