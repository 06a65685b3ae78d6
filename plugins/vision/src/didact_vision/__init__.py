"""Images for didact: patch encoder, block masks, image sources."""
