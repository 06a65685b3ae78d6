"""The contract carries methods that nobody has built here yet: the critical part of each, as small as it gets.

What docs/explanation/systems.md says of MAE, BERT, wav2vec 2.0 and HuBERT, as code. BYOL, DINO and VICReg are parts of
didact-views.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import nn
from torch.nn import functional as F

from didact import (
    Batch,
    FeatureEncoderModule,
    Layout,
    Learner,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    Signal,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Tokens,
    View,
    corrupt,
    repeat,
)
from didact.testing import (
    TinyBackbone,
    TinyMasker,
    TinySource,
    check_objective,
    check_target_builder,
    tiny_batch,
    tiny_network,
)

# ── methods whose targets are the input ───────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Pixels(TargetBuilder):
    """MAE's: the content itself, of a width that is known when the head is built."""

    def build(self, network: Network) -> TargetBuilderModule:
        return PixelsModule(network.signal.axes[0])


class PixelsModule(TargetBuilderModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        return tuple(
            Target(
                view=index, values=F.layer_norm(one.view.content.transpose(1, 2), (self.width,))
            )  # (B, F, T) -> (B, T, F)
            for index, one in enumerate(passes)
        )


def test_mae_predicts_pixels_at_dropped_positions_through_a_decoder(make):
    check_target_builder(Pixels())
    head = {"spec": "distill/conv-decoder", "width": 8, "layers": 1, "groups": 1, "noise": 0.0}
    objective = make({"spec": "distill/latent-regression", "head": head})
    check_objective(objective, Pixels(), masker=TinyMasker(corruption="drop"))


class WordsModule(FeatureEncoderModule):
    """An encoder of ids, whose table others may tie their weights to."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)

    def embed(self, view: View) -> Tokens:
        return Tokens(features=self.words(view.content), layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask) -> Tokens:
        features = corrupt(tokens.features, mask, self.words.weight[0], self.words.weight)
        return attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask))

    def table(self) -> nn.Parameter:
        return self.words.weight


class Ids(TargetBuilderModule):
    """BERT's and, with ids from elsewhere, HuBERT's and BEiT's."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.width = network.signal.vocabulary

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        return tuple(Target(view=index, values=one.view.content) for index, one in enumerate(passes))


class TiedCrossEntropy(ObjectiveModule):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.tied = (network.encoder.table(),)  # in a tuple: the encoder's state holds it already

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"tokens": sum(view.mask.count for view in batch.views)}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        terms = []
        for target in targets:
            one = passes[target.view]
            rows = one.context.output.flatten(0, 1)[one.view.mask.predictions]  # (R, T, D) -> (N, D)
            ids = target.values.flatten()[one.view.mask.targets]  # (B, T) -> (N,)
            terms.append(F.cross_entropy(rows @ self.tied[0].T, ids, reduction="sum"))
        return Loss(terms={"tokens": torch.stack(terms).sum()})


def test_bert_ties_its_head_to_the_table_of_an_encoder_that_it_does_not_know():
    signal = Signal(kind="tokens", axes=(None,), vocabulary=20)
    network = Network(WordsModule(20, 8), TinyBackbone().build(8, None), signal, None)
    targets = Ids(network)
    learner = Learner(network, targets, TiedCrossEntropy(network), TinySource())
    mask = tiny_batch(masker=TinyMasker()).views[0].mask
    content = torch.randint(20, (4, 12), generator=torch.Generator().manual_seed(0))
    batch = Batch(views=(View(content=content, layout=Layout((12,)), mask=mask),), ids=torch.arange(4))
    loss, _ = learner(batch, learner.objective.counts(batch))
    loss.backward()
    assert network.encoder.words.weight.grad.abs().sum(1).gt(0).all()  # every word, through the head
    assert not [name for name in learner.state_dict() if name.startswith("objective.")]
    assert targets.width == 20


# ── methods that draw at random on the device ─────────────────────────────────────────────────────────────────────────


class Latents(TargetBuilderModule):
    """wav2vec 2.0's, without the codebook: a trainable map of what the student embeds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.quantiser = nn.Linear(width, width)

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        return tuple(Target(view=i, values=self.quantiser(one.tokens.features)) for i, one in enumerate(passes))


@attrs.frozen(kw_only=True)
class LatentTargets(TargetBuilder):
    """Trainable targets."""

    def build(self, network: Network) -> TargetBuilderModule:
        return Latents(network.backbone.width)


@attrs.frozen(kw_only=True)
class Contrastive(Objective):
    """wav2vec 2.0's: which of the sample's predicted positions is it?

    Attributes:
        distractors: beside the true one.
    """

    distractors: int = 3

    def build(self, network: Network, targets: TargetBuilderModule) -> ObjectiveModule:
        return ContrastiveModule(self.distractors)


class ContrastiveModule(ObjectiveModule):
    def __init__(self, distractors: int) -> None:
        super().__init__()
        self.distractors = distractors

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"contrast": sum(view.mask.count for view in batch.views)}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        terms = []
        for target in targets:
            one = passes[target.view]
            for b, seed in enumerate(one.view.keys.tolist()):  # the keys are the host's
                places = one.view.mask.predicted[b, 0].nonzero().flatten()  # (n,)
                drawn = torch.Generator().manual_seed(seed)
                others = torch.randint(len(places), (len(places), self.distractors), generator=drawn)
                candidates = torch.cat([torch.arange(len(places))[:, None], others], 1)  # (n, 1 + distractors)
                values = target.values[b, places[candidates]]  # (n, 1 + distractors, D)
                alike = F.cosine_similarity(one.context.output[b, places][:, None], values, dim=-1)
                terms.append(F.cross_entropy(alike, torch.zeros(len(places), dtype=torch.long), reduction="sum"))
        return Loss(terms={"contrast": torch.stack(terms).sum()})


def test_wav2vec2_trains_its_targets_and_draws_distractors_that_no_split_changes():
    check_target_builder(LatentTargets(), learns=True)
    check_objective(Contrastive(), LatentTargets(), learns=True)
    network = tiny_network()
    targets = LatentTargets().build(network)
    learner = Learner(network, targets, Contrastive().build(network, targets), TinySource())
    batch = tiny_batch(masker=TinyMasker())
    loss, _ = learner(batch, learner.objective.counts(batch))
    loss.backward()
    assert targets.quantiser.weight.grad.abs().sum() > 0, "targets take a gradient where the method wants it"
