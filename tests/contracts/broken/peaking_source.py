"""A source that reads the largest value of a batch on the device.

breaks: waits
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinySource


@attrs.frozen(kw_only=True)
class PeakingSource(TinySource):
    """Refuses walks that are too large."""

    def finish(self, batch):
        for view in batch.views:
            if float(view.content.max()) > 1e9:
                raise ValueError("too large")
        return batch


@hookimpl
def didact_components():
    return {"it": PeakingSource}


def examples(folder):
    return {"it": [Example(spec=PeakingSource())]}


@hookimpl
def didact_examples():
    return examples
