"""Small instances of the components of didact-text, for the contract's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_kit import Example, NoiseSource
from didact_stores import Record
from didact_stores.ingest import write_store
from didact_text.blocks import TextBlocks
from didact_text.bpe import ByteBPE, TokenizerFile
from didact_text.embeddings import TokenEmbeddings
from didact_text.files import TextFiles
from didact_text.masking import TokenMasker, TokenSpanMasker
from didact_text.sources import Sentences

WORDS = ("mask", "teacher", "student", "token", "läuft", "span", "and", "the")

ids = NoiseSource(kind="tokens", axes=(14,), uneven=True, vocabulary=50)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """The examples of each component, by short name. Writes the store that the sources read to ``folder``."""
    store = str(folder / "text")
    texts = [_text(index) for index in range(8)]
    write_store(folder / "text", TextFiles.kind, TextFiles.unit, texts)
    tokenizer = ByteBPE(store=store, vocabulary_size=290)
    return {
        "token-embeddings": [Example(spec=TokenEmbeddings(width=16, max_tokens=24), source=ids)],
        "token": [Example(spec=TokenMasker()), Example(spec=TokenMasker(probability=0.3, predict="hidden"))],
        "span": [Example(spec=TokenSpanMasker(probability=0.35, length=2))],
        "blocks": [
            Example(spec=TextBlocks(store=store, tokenizer=tokenizer, block_tokens=16, breaks=breaks))
            for breaks in ("document", "none")
        ],
        "sentences": [
            Example(
                spec=Sentences(store=store, tokenizer=tokenizer, max_tokens=24),
                files={text.name: text.data for text in texts},
            )
        ],
        "byte-bpe": [Example(spec=tokenizer)],
        "tokenizer-file": [Example(spec=TokenizerFile(path="tokenizer.json"))],
        "text": [
            Example(
                spec=TextFiles(),
                good={text.name: text.data for text in texts},
                bad={"latin.txt": "Grüße".encode("latin-1"), "zeros.txt": b"\xff\xfe\x00"},
            )
        ],
    }


def _text(index: int) -> Record:
    data = " ".join(WORDS[(index * 3 + n * n) % 8] for n in range(14 + 5 * index)).encode()
    return Record(data=data, length=float(len(data)), name=f"{index}.txt", fields={"label": "pq"[index % 2]})
