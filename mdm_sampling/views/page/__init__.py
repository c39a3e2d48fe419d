"""A page that shows saved decodings step by step: one HTML file that needs nothing else.

Whatever a model wrote is data: it stands in the page as compressed JSON in base 64, and the page's program puts it into
text nodes only. The page's policy lets run this program and no other, and load nothing.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ...folders.files import Output
from ...traces.film import Film
from .data import page_data

_BEGINNING = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="mdm-sampling report">
"""
"""The first lines of page.html, by which a page of ours is told from all others."""

_SCRIPTS = ("film", "elements", "canvas", "details", "curves", "main")
"""The parts of the page's program, in this order."""


def write_page(
    films_by_name: Mapping[str, Sequence[Film]],
    file: str | Path,
    title: str = "Decoding traces",
    *,
    overwrite: bool = False,
) -> None:
    """Write a page of the films to a file, whole or not at all.

    Args:
        films_by_name: the rows of each trace, as `read_trace` returns them, by the name that the page shows.
        file: what to write; a page that this function wrote goes.
        title: the page's heading.
        overwrite: whether any other file goes as well; else it raises `SpecError`.
    """
    Output(file, is_page, overwrite).write(page(films_by_name, title))


def is_page(file: Path) -> bool:
    """Whether a file begins as the pages do that `write_page` writes."""
    with open(file, "rb") as opened:
        return opened.read(len(_BEGINNING)) == _BEGINNING


def page(films_by_name: Mapping[str, Sequence[Film]], title: str = "Decoding traces") -> str:
    """A page of the films as HTML."""
    style, script = _source("page.css"), "\n".join(_source(f"{name}.js") for name in _SCRIPTS)
    parts = {
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "data": _packed(page_data(films_by_name)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _source("page.html"))


def _source(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """The name under which the page's policy allows a style or script with exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _packed(data: Any) -> str:
    """JSON that can stand in a script element: compressed, as base 64."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
