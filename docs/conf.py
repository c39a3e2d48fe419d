"""How Sphinx builds the site: `pip install -e ".[docs]" && sphinx-build -W docs site`."""

import re
from importlib.metadata import version as version_of

from sphinx.application import Sphinx

project = "mdm-sampling"
author = "the mdm-sampling maintainers"
copyright = f"{author}, Apache-2.0"
version = release = version_of("mdm-sampling")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3  # headings can be linked as on GitHub
exclude_patterns = ["images"]
default_role = "code"  # single backticks, as in the docstrings

html_theme = "furo"
html_title = f"mdm-sampling {version}"
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True  # an "Attributes" section does not describe a field a second time


def setup(app: Sphinx) -> None:
    app.connect("source-read", keep_text_of_outer_links)


def keep_text_of_outer_links(app: Sphinx, page: str, source: list[str]) -> None:
    """The site is this folder alone, so a link that leaves it, to the README or to a plug-in's, becomes its text."""
    source[0] = re.sub(r"\[([^]]+)\]\(\.\./[^)]+\)", r"\1", source[0])
