"""A few images as every kind of source."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

COUNT = 11
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 20, 24, 3)).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


FILES = {f"img{i}.png": png(image) for i, image in enumerate(PIXELS)}


def folder(parent: Path) -> Path:
    (parent / "images").mkdir(parents=True)
    for name, content in FILES.items():
        (parent / "images" / name).write_bytes(content)
    return parent / "images"


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> str:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            add(archive, name, content)
    return str(path)


def zipped(parent: Path) -> str:
    with zipfile.ZipFile(parent / "x.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return str(parent / "x.zip")


def listed(parent: Path) -> str:
    images = folder(parent)
    (parent / "x.txt").write_text("".join(f"{images.name}/{name}\n" for name in FILES))
    return str(parent / "x.txt")


def npz(parent: Path) -> str:
    np.savez(parent / "x.npz", PIXELS, np.arange(COUNT))
    return str(parent / "x.npz")


def packed_npz(parent: Path) -> str:
    np.savez_compressed(parent / "x.npz", arr_0=PIXELS)
    return str(parent / "x.npz")


def npy(parent: Path) -> str:
    np.save(parent / "x.npy", PIXELS)
    return str(parent / "x.npy")


def shards(parent: Path, mask: bool = False) -> str:
    """Write shards like those of WebDataset."""
    for k in range(3):
        files = {}
        for i, content in list(enumerate(FILES.values()))[k::3]:
            files |= {f"{i:04}.json": json.dumps({"label": i}).encode(), f"{i:04}.png": content}
            files |= {f"{i:04}.mask.png": png(255 - PIXELS[i])} if mask else {}
        tar(parent / f"x-{k:03}.tar", files)
    return str(parent / "x-{000..002}.tar")


def parquet(parent: Path, nested: bool = False) -> str:
    import pyarrow as pa
    from pyarrow import parquet as pq

    rows = [{"bytes": content, "path": name} if nested else content for name, content in FILES.items()]
    pq.write_table(
        pa.table({"label": list(range(COUNT)), "picture of it": rows}), parent / "x.parquet", row_group_size=4
    )
    return str(parent / "x.parquet")


def video(parent: Path, name: str = "x.mkv", frames: np.ndarray = PIXELS) -> str:
    """Write a lossless video."""
    return encoded(parent / name, "ffv1", frames, rate=4, pixel_format="bgr0")


def encoded(
    path: Path, codec: str, frames: np.ndarray = PIXELS, rate: int = 12, pixel_format: str = "yuv420p", **options: str
) -> str:
    """Write a video, by default a lossy one like those of cameras, with a key frame every fourth."""
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        (stream.width, stream.height), stream.pix_fmt = (frames.shape[2], frames.shape[1]), pixel_format
        stream.gop_size = 4
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode())
    return str(path)


ON_DISK: dict[str, Callable[[Path], str]] = {
    "zip": zipped,
    "list": listed,
    "pattern": lambda parent: f"{folder(parent)}/img*.png",
    "npz": npz,
    "packed npz": packed_npz,
    "npy": npy,
    "tar": lambda parent: tar(parent / "x.tar", FILES),
    "packed tar": lambda parent: tar(parent / "x.tar.gz", FILES, "w:gz"),
    "shards": shards,
    "shards by star": lambda parent: shards(parent).replace("{000..002}", "*"),
    "parquet": parquet,
    "parquet of files": lambda parent: parquet(parent, nested=True),
    "video": video,
}


class Rows(Dataset):
    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"label": index, "image": Image.fromarray(PIXELS[index]), "boxes": np.zeros((4, 4))}


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(PIXELS)


def tensors() -> torch.Tensor:
    return torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


def pipeline() -> Callable[[], Any]:
    """Return a function that returns batches of images like a diffusers pipeline, until they run out."""
    batches = iter([[Image.fromarray(image) for image in PIXELS[i : i + 4]] for i in range(0, COUNT, 4)])
    return lambda: SimpleNamespace(images=next(batches))


def hugging_face(streaming: bool = False) -> Any:
    import datasets

    rows = {"label": list(range(COUNT)), "img": [{"bytes": content, "path": None} for content in FILES.values()]}
    features = datasets.Features({"label": datasets.Value("int64"), "img": datasets.Image()})
    dataset = datasets.Dataset.from_dict(rows, features=features)
    return dataset.to_iterable_dataset(num_shards=3) if streaming else dataset


def collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": [row["label"] for row in rows], "pixel_values": [row["image"] for row in rows]}


IN_MEMORY: dict[str, Callable[[], Any]] = {
    "array": lambda: PIXELS,
    "tensors": lambda: TensorDataset(tensors(), torch.arange(COUNT)),
    "rows": Rows,
    "list of rows": lambda: [{"label": i, "scan": image} for i, image in enumerate(PIXELS)],
    "rows of bytes": lambda: [{"name": "x", "jpg": content} for content in FILES.values()],
    "rows of files": lambda: [{"x": {"bytes": content, "path": "a"}} for content in FILES.values()],
    "bytes": lambda: list(FILES.values()),
    "files": lambda: [{"bytes": content, "path": None} for content in FILES.values()],
    "Hugging Face": hugging_face,
    "Hugging Face stream": lambda: hugging_face(streaming=True),
    "loader": lambda: DataLoader(TensorDataset(tensors(), torch.arange(COUNT)), batch_size=4),
    "loader of rows": lambda: DataLoader(Rows(), batch_size=4, collate_fn=collated),
    "iterable dataset": Stream,
    "iterator": lambda: iter(PIXELS),
    "batches": lambda: (batch for batch in tensors().split(3)),
    "rows one by one": lambda: ({"label": i, "image": image} for i, image in enumerate(PIXELS)),
    "function": lambda: iter([*PIXELS, None]).__next__,
    "function that makes it anew": lambda: lambda: iter(PIXELS),
    "pipeline": pipeline,
}
