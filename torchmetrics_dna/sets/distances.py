"""Which distances between image sets there are, and which kinds of DNA they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.sets.measure import Kind

Distance = Literal["dna-emd", "dna-fd", "fd", "kid"]
DEFAULT_DISTANCES: tuple[Distance, ...] = ("dna-emd", "dna-fd")
# the kind of DNA whose distances they are, and others that hold it; kid is of the single images
KINDS: dict[Distance, tuple[Kind, ...]] = {
    "dna-emd": ("histogram",),
    "dna-fd": ("gaussian", "layer-gaussian"),
    "fd": ("layer-gaussian",),
    "kid": (),
}


def resolve_distances(asked: Sequence[str] | None, given: Sequence[DNA]) -> tuple[Distance, ...]:
    """The distances for an argument ``metrics``: those that are asked for, or by default all that DNAs allow.

    Args:
        asked: Their names; None for the default.
        given: The sides of a comparison that are DNAs, not images.

    Raises:
        ValueError: If a name is unknown, or a DNA does not have what a distance takes.

    """
    if asked is None:
        served = tuple(name for name, kinds in KINDS.items() if all(dna.kind in kinds for dna in given))
        if not served:
            raise ValueError(f"Can't compare a {given[0].kind} DNA with a {given[-1].kind} DNA; make both of one kind")
        return served if given else DEFAULT_DISTANCES
    names = [asked] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise ValueError(
            f"Argument `metrics` expected to be of {', '.join(get_args(Distance))}, but got"
            f" {', '.join(map(repr, unknown)) or 'none'}"
        )
    for name, kinds in KINDS.items():
        for dna in given:
            if name in names and dna.kind not in kinds:
                remedy = f"a DNA of kind {' or '.join(map(repr, kinds))}" if kinds else "images on both sides"
                raise ValueError(f"A {dna.kind} DNA does not have what {name} takes; give {remedy}, or leave it out")
    return tuple(name for name in KINDS if name in names)


def kinds_for(distances: Sequence[Distance]) -> list[Kind]:
    """The kinds of DNA to measure for some distances."""
    kinds: list[Kind] = ["histogram"] if "dna-emd" in distances else []
    if "fd" in distances:
        kinds.append("layer-gaussian")  # whose diagonal gives dna-fd too
    elif "dna-fd" in distances or not kinds:
        kinds.append("gaussian")  # also for kid alone, to know of which images it is; it costs next to nothing
    return kinds
