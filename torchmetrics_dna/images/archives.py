"""List the images of an archive of any kind, with its links."""

from __future__ import annotations

import posixpath

from torchmetrics_dna.images.names import natural_key

NOT_REGULAR = "it is not a regular file"


class Listing:
    """Files and links of an archive, which count like those of an unpacked folder.

    A hard link is a file of its own. A symbolic link counts if its target is not an image by its own name, and once for
    all links to the same target; one that leads out of the archive is an unreadable image.

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
        self._targets: dict[str, str] = {}  # target of each link
        self._links: dict[str, bool] = {}  # links with names of images; True for hard ones

    def add(self, name: str) -> None:
        """Add a file as an image; ValueError if the name exists already."""
        self.images.add(self._new(name))

    def link(self, name: str, target: str, *, image: bool, hard: bool = False) -> None:
        """Add a link, whose target is relative to the archive if hard, else to its folder; errors as in :meth:`add`."""
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
        """Return the links that are images of their own, by the path of their target."""
        links: dict[str, list[str]] = {}
        soft_targets = set[str]()
        for path in sorted(self._links, key=natural_key):
            target = self._end(path)
            if not self._links[path]:
                if target in self.images or target in soft_targets:
                    continue
                soft_targets.add(target)
            links.setdefault(target, []).append(path)
        return links

    def _end(self, path: str) -> str:
        """Resolve a chain of links; for a cycle, return a link of it."""
        visited = set[str]()
        while path in self._targets and path not in visited:
            visited.add(path)
            path = self._targets[path]
        return path


def leads_nowhere(target: str) -> str:
    """Return the error text for a link whose target is not in the archive."""
    return f"it is a link to {target!r}, which is not in the archive; pack the files that links lead to"
