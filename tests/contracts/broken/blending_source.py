"""A source that makes every sample of a batch as loud as the batch's loudest.

breaks: finish
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact.testing import Example, TinySource


@attrs.frozen(kw_only=True)
class BlendingSource(TinySource):
    """Walks, scaled together."""

    def finish(self, batch):
        views = tuple(attrs.evolve(view, content=view.content / view.content.abs().max()) for view in batch.views)
        return attrs.evolve(batch, views=views)


@hookimpl
def didact_sources():
    return {"it": BlendingSource}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=BlendingSource())]}
