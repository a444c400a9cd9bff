"""The images of an archive, whatever its kind: what counts, and which links are images of their own."""

from __future__ import annotations

import posixpath

from torchmetrics_dna.images.names import natural_key

NOT_REGULAR = "it is not a regular file"


class Listing:
    """The files and links of an archive, as if it were unpacked: they count as those of a folder do.

    A hard link is a file of its own. A symbolic link counts if what it leads to does not count by its own name, and
    once for all links to the same; one that leads out of the archive is an image that can't be read.

    Example:
        >>> listing = Listing()
        >>> listing.add("sub/a.png")
        >>> for name, target in [("b.png", "sub/a.png"), ("c.png", "blob"), ("d.png", "blob")]:
        ...     listing.link(name, target, image=True)
        >>> listing.linked()
        {'blob': ['c.png']}

    """

    def __init__(self) -> None:
        self.images: set[str] = set()
        self._targets: dict[str, str] = {}  # of all links
        self._links: dict[str, bool] = {}  # those that are called as images are, and whether they are hard

    def add(self, name: str) -> None:
        """Take a file as an image; ValueError if there is one of its name."""
        self.images.add(self._new(name))

    def link(self, name: str, target: str, *, image: bool, hard: bool = False) -> None:
        """Note a link, to a path in the archive if it is hard, or else relative to its folder; errors as for a file."""
        path = posixpath.normpath(name)
        if image:
            self._links[self._new(name)] = hard
        self._targets[path] = posixpath.normpath(target if hard else posixpath.join(posixpath.dirname(path), target))

    def _new(self, name: str) -> str:
        path = posixpath.normpath(name)
        if path in self.images or path in self._links:
            raise ValueError(f"it has {path!r} twice; pack it anew, each file once")
        return path

    def linked(self) -> dict[str, list[str]]:
        """The links that are images of their own, by the path of the file that they lead to."""
        found: dict[str, list[str]] = {}
        soft = set[str]()
        for path in sorted(self._links, key=natural_key):
            target = self._end(path)
            if not self._links[path]:
                if target in self.images or target in soft:
                    continue
                soft.add(target)
            found.setdefault(target, []).append(path)
        return found

    def _end(self, path: str) -> str:
        """Where a link leads to, by way of others; for a circle, one of them."""
        seen = set[str]()
        while path in self._targets and path not in seen:
            seen.add(path)
            path = self._targets[path]
        return path


def leads_nowhere(target: str) -> str:
    """What is wrong with a link whose target is not in the archive."""
    return f"it is a link to {target!r}, which is not in the archive; pack the files that links lead to"
