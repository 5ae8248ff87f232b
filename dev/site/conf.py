"""Sphinx's settings for the documentation site; dev/site/build lays the pages out and calls it."""

from __future__ import annotations

import pathlib
import re

_galaxy = (pathlib.Path(__file__).resolve().parents[2] / "galaxy.yml").read_text(encoding="utf-8")

project = "synapse.workers"
copyright = "synapse.workers contributors, GPL-3.0-or-later"
version = release = re.search(r"^version: (.+)$", _galaxy, re.MULTILINE)[1]  # type: ignore[index]

extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_heading_anchors = 3
# A link to a place that is not there fails the build; so does one to a page.
nitpicky = True
nitpick_ignore_regex = [
    # Ansible's own documentation: another site.
    (r"(ansplugin|ansopt|ansretval|ansenvvar|ansenvvarref|std)(:.*)?", r".*(ansible\.builtin|community\.postgresql).*"),
]
suppress_warnings = [
    "myst.xref_missing_external",
    # What antsibull-docs writes refers to labels of Ansible's own documentation.
    "ref.ref",
    "misc.highlighting_failure",
]

highlight_language = "text"
html_theme = "furo"
html_title = "synapse.workers"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
