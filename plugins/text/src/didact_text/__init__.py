"""Text for didact: byte-level BPE, token masks, corpus sources."""
