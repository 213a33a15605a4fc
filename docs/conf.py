"""Sphinx configuration: Markdown pages through MyST, reference pages from numpydoc docstrings."""

import importlib.metadata

project = "Resolvent"
author = "The Resolvent developers"
copyright = author
release = importlib.metadata.version("resolvent")
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
]
exclude_patterns = ["_build", "Thumbs.db", ".DS_Store"]

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings' parameter tables say it
# What only runs beside a device need not be installed to be documented.
autodoc_mock_imports = ["cupy", "cupyx", "triton"]

numpydoc_show_class_members = False  # autosummary lists them; a second list would warn of missing pages
numpydoc_class_members_toctree = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = f"Resolvent {release}"
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False}
