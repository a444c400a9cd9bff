"""Make the package's long description of README.md: hatchling calls this when it builds.

An index shows README alone, so what it leads to must be addresses. These are made from the ones in `[project.urls]`
of pyproject.toml, of the tag of the version that is built. Without addresses, three things change:

- A link becomes its text.
- A picture is removed with its caption: the text between ``<!-- picture -->`` and ``<!-- end of picture -->``.
- A list of links is removed: the text between ``<!-- links -->`` and ``<!-- end of links -->``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_PICTURE = re.compile(r'<img [^>]*?src="(?P<target>[^"]+)"[^>]*>\n*')
_LINKS = re.compile(r"\s*<!-- links -->.*?<!-- end of links -->", re.DOTALL)
_CAPTIONED_PICTURE = re.compile(r"\s*<!-- picture -->.*?<!-- end of picture -->", re.DOTALL)
_ABSOLUTE = re.compile(r"[a-z]+:")


class LongDescription(MetadataHookInterface):
    """The hook that `[tool.hatch.metadata.hooks.custom]` names."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme among the fields of ``[project]``."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = with_addresses(text, metadata.get("urls", {}), metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_addresses(text: str, urls: dict[str, str], version: str) -> str:
    """Replace what is relative to the repository by addresses, or by what a reader has without them.

    Args:
        text: README, Markdown.
        urls: ``Source``, a repository on GitHub, and ``Documentation``, the site, if there are any.
        version: Whose tag is ``v`` and the version.

    """
    source, site = (urls.get(name, "").rstrip("/") for name in ("Source", "Documentation"))
    if not source:
        text = _CAPTIONED_PICTURE.sub("", text)
    if not source and not site:
        text = _LINKS.sub("", text)

    def address(target: str, picture: bool) -> str:
        path, hash_, heading = target.partition("#")
        if _ABSOLUTE.match(target):
            return target
        if not picture and site and re.fullmatch(r"docs/[\w/]+\.md", path):
            return f"{site}/{path[5:-3]}.html{hash_}{heading}"
        return f"{source}/{'raw' if picture else 'blob'}/v{version}/{target}" if source else ""

    def link(match: re.Match[str]) -> str:
        target = address(match["target"], bool(match["picture"]))
        if not target:
            return "" if match["picture"] else match["text"]
        return f"{match['picture']}[{match['text']}]({target})"

    def picture(match: re.Match[str]) -> str:
        target = address(match["target"], picture=True)
        in_flow = match[0].replace(' align="right"', "")  # an index strips `clear`, which ends what floats
        return in_flow.replace(f'"{match["target"]}"', f'"{target}"') if target else ""

    parts = _CODE.split(text)
    parts[::2] = [_LINK.sub(link, _PICTURE.sub(picture, part)) for part in parts[::2]]
    return "".join(parts)
