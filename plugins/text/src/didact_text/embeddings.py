"""Learned embeddings of ids and of positions, as in RoBERTa."""

from __future__ import annotations

from typing import cast

import attrs
import torch
from torch import Tensor, nn

from didact import BatchMask, FeatureEncoder, FeatureEncoderModule, Layout, Signal, SpecError, Tokens, View
from didact.placing import corrupt, drop, repeat
from didact_text.bpe import FIRST_WORD, PAD


@attrs.frozen(kw_only=True)
class TokenEmbeddings(FeatureEncoder):
    """The sum of a learned vector for each id and one for each position, with LayerNorm and dropout.

    This is the input of RoBERTa (Liu et al. 2019) and of data2vec on text (§4.3). The mask embedding is the vector of
    ``<mask>``. A replaced position gets the vector of a random word, never of a special token, as in fairseq (Google's
    BERT draws from the whole vocabulary).

    Attributes:
        max_tokens: largest number of tokens in a sample; 512 in BERT, RoBERTa and data2vec.
        dropout: share of the normalised sum that is dropped; 0.1 in data2vec.
        zero_padding: whether features at padding are set to zero, as in data2vec 1. Otherwise they are the normalised
            sum, as in data2vec 2.0. No position attends to padding in either case.
    """

    max_tokens: int = 512
    dropout: float = 0.1
    zero_padding: bool = True

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.max_tokens >= 1, "max_tokens", "at least 1")
        self.require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1")

    def layout(self, size: tuple[int, ...]) -> Layout:
        if len(size) != 1 or size[0] < 1:
            raise SpecError(
                f"TokenEmbeddings reads sequences of ids (T,), got a sample of shape {size}",
                where="experiment.encoder",
                hint="use a source of text, such as TextBlocks",
            )
        if size[0] > self.max_tokens:
            raise SpecError(
                f"a sample of {size[0]} tokens is longer than TokenEmbeddings.max_tokens, {self.max_tokens}",
                where="experiment.encoder.max_tokens",
                hint="increase it, or shorten the samples: TextBlocks.block_tokens, Sentences.max_tokens",
            )
        return Layout((size[0],))

    def build(self, signal: Signal) -> TokenEmbeddingsModule:
        if signal.kind != "tokens" or signal.vocabulary is None:
            raise SpecError(
                f"TokenEmbeddings reads tokens, but the source gives {signal.kind}",
                where="experiment.encoder",
                hint="use a source of text, such as TextBlocks, or an encoder for that signal",
            )
        return TokenEmbeddingsModule(self, signal.vocabulary)


class TokenEmbeddingsModule(FeatureEncoderModule):
    """The weights of `TokenEmbeddings`: two tables and the norm.

    Args:
        spec: the settings.
        vocabulary: number of ids; the last is ``<mask>``.
    """

    position_parts = ("positions", "norm")

    def __init__(self, spec: TokenEmbeddings, vocabulary: int) -> None:
        super().__init__()
        self.spec = spec
        self.tokens = nn.Embedding(vocabulary, spec.width, padding_idx=PAD)
        # row 1 is for padding and row 2 for the first position, as in fairseq, so that its weights can be loaded
        self.positions = nn.Embedding(PAD + 1 + spec.max_tokens, spec.width, padding_idx=PAD)
        self.norm = nn.LayerNorm(spec.width, eps=1e-5)
        self.dropout = nn.Dropout(spec.dropout)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)
            with torch.no_grad():
                table.weight[PAD].zero_()

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        return {"positions.weight"}

    def embed(self, view: View) -> Tokens:
        """Looks up the vectors of the ids.

        Args:
            view: content (B, T) int64, padding (B, T).

        Returns:
            Tokens with features (B, T, D), zero at padding.
        """
        ids = view.content if view.padding is None else view.content.masked_fill(view.padding, PAD)
        return Tokens(features=self.tokens(ids), layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Corrupts the features, adds positions, normalises, and drops positions.

        Args:
            tokens: features (B, T, D). Position numbers skip the positions that ``padding`` marks here.
            mask: M masks per sample, or None.

        Returns:
            Tokens with features (R, V, D), R = B·M.
        """
        features = self._corrupt(tokens, mask)  # (R, T, D)
        if tokens.padding is None:
            count = features.shape[1]
            features = features + self.positions.weight[PAD + 1 : PAD + 1 + count]  # (T, D), the same for every row
        else:
            ids = repeat(position_ids(tokens.padding), mask)  # (B, T) -> (R, T)
            features = features + self.positions(ids)
        features = self.dropout(self.norm(features))
        padding = repeat(tokens.padding, mask)
        if padding is not None and self.spec.zero_padding:
            features = features.masked_fill(padding[..., None], 0.0)
        return drop(Tokens(features=features, layout=tokens.layout, padding=padding), mask)

    def input_embeddings(self) -> nn.Parameter:
        return cast(nn.Parameter, self.tokens.weight)

    def replacements(self, mask: BatchMask) -> Tensor | None:
        if mask.replacement is None:
            return None
        return FIRST_WORD + mask.replacement % (self.tokens.num_embeddings - FIRST_WORD - 1)

    def _corrupt(self, tokens: Tokens, mask: BatchMask | None) -> Tensor:
        """Puts the vector of ``<mask>`` at hidden positions, and the vectors of random words at replaced ones.

        Args:
            tokens: features (B, T, D).
            mask: M masks per sample, or None.

        Returns:
            (R, T, D).
        """
        features, padding = tokens.features, tokens.padding
        if mask is None:
            return features
        vocabulary = self.tokens.num_embeddings
        hidden = self._vectors(torch.full((), vocabulary - 1, device=features.device))  # (D,)
        words = self.replacements(mask)  # (B, M, T)
        if mask.replaced is None or words is None:
            return corrupt(features, mask, hidden, padding=padding)
        kept = corrupt(features, attrs.evolve(mask, replaced=None), hidden, padding=padding)
        return torch.where(mask.replaced.flatten(0, 1)[..., None], self._vectors(words.flatten(0, 1)), kept)

    def _vectors(self, ids: Tensor) -> Tensor:
        """Looks up the vectors (*, D) of more ids (*).

        Their gradient is sparse and is added in place to the dense one of `embed`: a second dense gradient, of the size
        of the table, would take more time than the rest of the encoder.
        """
        return nn.functional.embedding(ids, self.tokens.weight, sparse=True)


def position_ids(padding: Tensor) -> Tensor:
    """The rows of the position table: 1 for padding, and 2, 3, … for the other positions.

    Args:
        padding: (B, T) bool; true = not data.

    Returns:
        (B, T) int64.
    """
    data = (~padding).long()
    return data.cumsum(1) * data + PAD
