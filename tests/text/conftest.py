import random
from collections.abc import Callable
from pathlib import Path

import pytest

from didact_stores import Record
from didact_stores.ingest import write_store
from didact_text import ByteBPE, TextFiles

SYLLABLES = ["ka", "lo", "mi", "ren", "tus", "ba", "é", "shi", "dor", "en", "qui", "vash", "fy", "gem", "wox", "zu"]


@pytest.fixture(scope="session")
def corpus_text() -> str:
    """Made-up prose with few words that are frequent and many that are rare, as in any language."""
    chance = random.Random(0)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(400)]
    paragraphs = []
    for _ in range(60):
        lines = []
        for _ in range(chance.randint(1, 5)):
            said = [words[min(int(chance.paretovariate(0.5)), 399)] for _ in range(chance.randint(3, 30))]
            lines.append(" ".join(said).capitalize() + " .")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Record]], str]:
    """Writes records into a new store and gives its path."""

    def make(records: list[Record]) -> str:
        folder = tmp_path_factory.mktemp("store") / "text"
        write_store(folder, "text", "bytes", records)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def records(corpus_text: str) -> list[Record]:
    return TextFiles().records(corpus_text.encode(), "prose.txt", {})


@pytest.fixture(scope="session")
def store(make_store: Callable[[list[Record]], str], records: list[Record]) -> str:
    return make_store(records)


@pytest.fixture(scope="session")
def bpe(store: str) -> ByteBPE:
    tokenizer = ByteBPE(store=store, vocabulary_size=400)
    tokenizer.prepare()
    return tokenizer


@pytest.fixture
def copied(store: str, tmp_path: Path) -> str:
    """The store without anything computed from it."""
    import shutil

    shutil.copytree(store, tmp_path / "copy", ignore=shutil.ignore_patterns("derived"))
    return str(tmp_path / "copy")
