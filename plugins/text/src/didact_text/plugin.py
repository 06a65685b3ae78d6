"""The plugin of didact-text."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_feature_encoders() -> Mapping[str, str]:
    return {
        "token-embeddings": "didact_text.embeddings:TokenEmbeddings",
    }


@hookimpl
def didact_maskers() -> Mapping[str, str]:
    return {
        "token": "didact_text.masking:TokenMasker",
        "span": "didact_text.masking:TokenSpanMasker",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "blocks": "didact_text.blocks:TextBlocks",
        "sentences": "didact_text.sources:Sentences",
        "byte-bpe": "didact_text.bpe:ByteBPE",
        "tokenizer-file": "didact_text.bpe:TokenizerFile",
        "text": "didact_text.files:TextFiles",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_text.examples:examples"
