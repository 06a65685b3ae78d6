"""didact in five minutes: one algorithm on images, speech and text."""
