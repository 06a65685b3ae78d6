"""Text for didact: byte-level BPE, token masks, corpus sources."""

from didact_text.blocks import TextBlocks
from didact_text.bpe import ByteBPE, Tokenizer, TokenizerFile
from didact_text.embeddings import TokenEmbeddings, TokenEmbeddingsModule, position_ids
from didact_text.files import TextFiles
from didact_text.masking import TokenMasker, TokenSpanMasker
from didact_text.sources import Sentences, TokenSource

__all__ = [
    "ByteBPE",
    "Sentences",
    "TextBlocks",
    "TextFiles",
    "TokenEmbeddings",
    "TokenEmbeddingsModule",
    "TokenMasker",
    "TokenSource",
    "TokenSpanMasker",
    "Tokenizer",
    "TokenizerFile",
    "position_ids",
]
