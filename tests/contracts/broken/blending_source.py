"""A source that scales every sample of a batch by the batch's largest value.

breaks: finish
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinySource


@attrs.frozen(kw_only=True)
class BlendingSource(TinySource):
    """Walks, scaled together."""

    def finish(self, batch):
        views = tuple(attrs.evolve(view, content=view.content / view.content.abs().max()) for view in batch.views)
        return attrs.evolve(batch, views=views)


@hookimpl
def didact_components():
    return {"it": BlendingSource}


def examples(folder):
    return {"it": [Example(spec=BlendingSource())]}


@hookimpl
def didact_examples():
    return examples
