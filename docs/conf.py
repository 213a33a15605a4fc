"""Sphinx configuration: Markdown pages through MyST, reference pages from numpydoc docstrings."""

import sys
from pathlib import Path

import resolvent

sys.path.insert(0, str(Path(__file__).parent))

from tables import properties_by_class

project = "Resolvent"
author = "The Resolvent developers"
copyright = author
release = resolvent.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",  # which brings MathJax along, so that pages load nothing from elsewhere
    "numpydoc",
    "myst_parser",
    "decision",  # beside this file, as the next
    "tables",
]
exclude_patterns = ["_build", "_templates", "Thumbs.db", ".DS_Store"]
templates_path = ["_templates"]

autosummary_generate = True
# Beside the function schedule; file systems that do not tell capitals apart would have one page for both.
_SCHEDULES = "resolvent.solvers.matrix_functions.newton_schulz"
autosummary_filename_map = {f"{_SCHEDULES}.Schedule": f"{_SCHEDULES}.Schedule-class"}
# The template of classes lists methods and these; fields are explained in the docstrings.
autosummary_context = {"properties": properties_by_class()}
autodoc_typehints = "none"  # the docstrings' parameter tables say it
# What only runs beside a device need not be installed to be documented.
autodoc_mock_imports = ["cupy", "cupyx", "triton"]

numpydoc_show_class_members = False  # the class template lists them; a second list would warn of missing pages
numpydoc_class_members_toctree = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = f"Resolvent {release}"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Pages without pages below them have nothing to show there, and more room for the text.
html_sidebars = {page.stem: [] for page in Path(__file__).parent.glob("*.md") if page.stem != "reference"}
