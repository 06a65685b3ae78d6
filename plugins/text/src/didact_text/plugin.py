"""What this distribution adds to didact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import FeatureEncoder, Masker, Medium, Source, Spec, hookimpl
from didact_text.blocks import TextBlocks
from didact_text.bpe import ByteBPE, TokenizerFile
from didact_text.embeddings import TokenEmbeddings
from didact_text.files import TextFiles
from didact_text.masking import TokenMasker, TokenSpanMasker
from didact_text.sources import Sentences

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"token-embeddings": TokenEmbeddings}


@hookimpl
def didact_maskers() -> dict[str, type[Masker]]:
    return {"token": TokenMasker, "span": TokenSpanMasker}


@hookimpl
def didact_sources() -> dict[str, type[Source]]:
    return {"blocks": TextBlocks, "sentences": Sentences}


@hookimpl
def didact_parts() -> dict[str, type[Spec]]:
    return {"byte-bpe": ByteBPE, "tokenizer-file": TokenizerFile}


@hookimpl
def didact_media() -> dict[str, type[Medium]]:
    return {"text": TextFiles}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_text.examples import examples

    return examples(folder)
