"""A source that scales a content in place to draw it.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinySource


@attrs.frozen(kw_only=True)
class RenderingSource(TinySource):
    """Walks."""

    def image(self, content):
        content -= content.min()
        return super().image(content)


@hookimpl
def didact_components():
    return {"it": RenderingSource}


def examples(folder):
    return {"it": [Example(spec=RenderingSource())]}


@hookimpl
def didact_examples():
    return examples
