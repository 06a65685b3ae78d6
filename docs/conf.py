"""Sphinx's configuration: the pages of this folder as a site, with a reference generated from the code.

uv run --group docs sphinx-build -W --keep-going -b html docs docs/_build
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "didact"
author = "the didact authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
exclude_patterns = ["_build"]
nitpicky = True  # `reference_pages` decides which names may remain unresolved

html_theme = "furo"
html_title = "didact"
html_show_copyright = False

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
suppress_warnings = ["myst.header"]

default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_attr_annotations = True
napoleon_custom_sections = [("Class attributes", "Attributes"), ("Options", "params_style")]
