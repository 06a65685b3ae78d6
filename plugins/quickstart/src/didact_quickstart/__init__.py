"""didact in five minutes: one algorithm on images, speech and text.

Nothing here is meant to be imported; the distribution brings the command ``didact quickstart`` and its data.
"""

__all__: list[str] = []
