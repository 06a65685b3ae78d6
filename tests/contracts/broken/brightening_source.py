"""A source that brightens a batch in place.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinySource


@attrs.frozen(kw_only=True)
class BrighteningSource(TinySource):
    """Brighter walks."""

    def finish(self, batch):
        for view in batch.views:
            view.content.add_(0.5)
        return batch


@hookimpl
def didact_components():
    return {"it": BrighteningSource}


def examples(folder):
    return {"it": [Example(spec=BrighteningSource())]}


@hookimpl
def didact_examples():
    return examples
