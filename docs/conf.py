"""Settings of the documentation; see docs/contributing.md for how to build it."""

from __future__ import annotations

import mmevent

project = "mmevent"
author = "The mmevent developers"
copyright = "2026, The mmevent developers"
release = version = mmevent.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"mmevent {release}"
html_show_sourcelink = False
