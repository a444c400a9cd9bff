"""Help on the images and DNA files that commands accept."""

from __future__ import annotations

from textwrap import fill

from torchmetrics_dna.images.kinds import KINDS, FileKind

_DNA_FILES = (
    "a file that make or merge wrote",
    "the .json or .npz file of a pair that the reference implementation (vdna) wrote",
    "an .npz file of FID statistics",
    "hub:OWNER/REPO/path, which is one of these in a repository on the Hugging Face Hub",
)


def describe_sources() -> str:
    """Return the text of ``torchmetrics-dna --help-sources``, in lines of at most 80 characters."""
    formats = ["a folder, which is searched recursively for image files"]
    formats += [_described(kind) for kind in KINDS.values()]
    paragraphs = [
        "A set of images is one of these:",
        _listed(formats),
        fill(
            "Several files or folders are one set if a quoted pattern matches them, such as 'x/*.tar'. An address is"
            " accepted in place of a path, such as s3://bucket/x.tar or https://host/x.zip.",
            80,
        ),
        "A DNA file is one of these:",
        _listed(_DNA_FILES),
    ]
    return "\n\n".join(paragraphs)


def _described(kind: FileKind) -> str:
    """Return the name of a file format, and in brackets the suffixes that the name does not have."""
    more_suffixes = [suffix for suffix in kind.suffixes if suffix not in kind.name]
    if not more_suffixes:
        return kind.name
    return f"{kind.name} ({', '.join(more_suffixes)})"


def _listed(items: list[str] | tuple[str, ...]) -> str:
    """Return a list with one item per paragraph, in lines of at most 80 characters."""
    return "\n".join(fill(item, 80, initial_indent="  - ", subsequent_indent="    ") for item in items)
