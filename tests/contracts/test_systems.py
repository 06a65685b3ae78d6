"""The contract carries methods that nobody has built here yet: the critical part of each, as small as it gets.

What docs/explanation/systems.md says of BYOL, DINO, VICReg, MAE, BERT, wav2vec 2.0 and HuBERT, as code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact import (
    Backbone,
    BackboneModule,
    Batch,
    Collect,
    Context,
    Experiment,
    FeatureEncoderModule,
    Layout,
    Learner,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    Signal,
    SpecError,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
    Tokens,
    Training,
    View,
    corrupt,
    repeat,
    samples,
)
from didact.randomness import seeded
from didact.testing import (
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinySource,
    check_backbone,
    check_objective,
    check_target_builder,
    tiny_batch,
    tiny_network,
)

# ── methods that compare views ────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Projected(Backbone):
    """A backbone that ends in a projector, which a teacher therefore averages.

    Attributes:
        backbone: that is projected.
        size: of the summary.
    """

    backbone: Backbone = TinyBackbone()
    size: int = 5

    def build(self, width: int, layout: Layout | None) -> BackboneModule:
        return ProjectedModule(self.backbone.build(width, layout), self.size)


class ProjectedModule(BackboneModule):
    def __init__(self, inner: BackboneModule, size: int) -> None:
        super().__init__()
        self.inner, self.width, self.blocks, self.summary_width = inner, inner.width, inner.blocks, size
        self.projector = nn.Sequential(nn.Linear(inner.width, 16), nn.GELU(), nn.Linear(16, size))

    def forward(self, tokens: Tokens, collect: Collect | None = None) -> Context:
        context = self.inner(tokens, collect)
        padding = tokens.padding if tokens.padding is not None else context.output.new_zeros(context.output.shape[:2])
        held = 1 - padding.float()  # (R, V)
        mean = (context.output * held[..., None]).sum(1) / held.sum(1, keepdim=True)  # (R, V, D) -> (R, D)
        return attrs.evolve(context, summary=self.projector(mean))


def views_network() -> Network:
    network = tiny_network()
    with seeded(0, "projected"):
        return Network(network.encoder, Projected().build(8, None), network.signal, network.layout)


@attrs.frozen(kw_only=True)
class OtherView(TargetBuilder):
    """BYOL's and, without a teacher, VICReg's: each view predicts the other's summary.

    Attributes:
        teacher: that summarises; None: the student, with gradient.
    """

    teacher: Teacher | None = None

    def build(self, network: Network) -> TargetBuilderModule:
        return OtherViewModule(self, network)


class OtherViewModule(TargetBuilderModule):
    def __init__(self, spec: OtherView, network: Network) -> None:
        super().__init__()
        self.width = network.backbone.summary_width
        self.teacher = spec.teacher.build(network) if spec.teacher is not None else None

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        first, second = (
            self.teacher(one, network).summary if self.teacher is not None else one.context.summary for one in passes
        )
        return (
            Target(view=0, values=second, level="sample"),
            Target(view=1, values=first, level="sample"),
        )

    def after_step(self, network: Network, step: int) -> Mapping[str, float]:
        return self.teacher.after_step(network, step) if self.teacher is not None else {}


@attrs.frozen(kw_only=True)
class Predictor(Objective):
    """BYOL's: a predictor that only the student has, and a cosine."""

    def build(self, network: Network, targets: TargetBuilderModule) -> ObjectiveModule:
        return PredictorModule(targets.width)


class PredictorModule(ObjectiveModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.predictor = nn.Linear(width, width)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"cosine": batch.ids.shape[0] * len(batch.views)}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        pairs = [(self.predictor(passes[target.view].context.summary), target.values) for target in targets]
        return Loss(terms={"cosine": sum((2 - 2 * F.cosine_similarity(p, t)).sum() for p, t in pairs)})


@attrs.frozen(kw_only=True)
class Covariance(Objective):
    """VICReg's: a function of the whole batch."""

    divisible: ClassVar[bool] = False

    def build(self, network: Network, targets: TargetBuilderModule) -> ObjectiveModule:
        return CovarianceModule()


class CovarianceModule(ObjectiveModule):
    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"invariance": batch.ids.shape[0], "covariance": batch.ids.shape[0]}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        one, other = passes[0].context.summary, targets[0].values
        covariance = sum((torch.cov(x.T) - torch.eye(x.shape[1])).square().sum() for x in (one, other))
        return Loss(terms={"invariance": (one - other).square().sum(), "covariance": covariance * len(one)})


def test_a_projector_is_part_of_the_backbone_and_gives_the_summary():
    check_backbone(Projected(), 8, Layout((7,)))


def test_byol_learns_each_view_from_the_teachers_summary_of_the_other(make):
    batch = tiny_batch(views=2)
    builder = OtherView(teacher=make({"spec": "distill/ema", "start": 0.5, "end": 0.5, "shares": "nothing"}))
    views = {"source": TinySource(uneven=True, views=2), "masker": None, "backbone": Projected()}
    check_target_builder(builder, **views, objective=Predictor())
    check_objective(Predictor(), builder, **views)
    network = views_network()
    targets = builder.build(network)
    learner = Learner(network, targets, Predictor().build(network, targets))
    loss, _ = learner(batch, learner.objective.counts(batch))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.backbone.projector.parameters())
    assert all(parameter.grad is None for parameter in targets.parameters())
    before = targets.teacher.backbone.projector[0].weight.clone()
    with torch.no_grad():
        network.backbone.projector[0].weight.add_(1.0)
    learner.after_step(1)
    assert torch.allclose(targets.teacher.backbone.projector[0].weight, before + 0.5)


def test_vicreg_has_no_teacher_gradients_through_both_views_and_no_micro_batches():
    views = {"source": TinySource(uneven=True, views=2), "masker": None, "backbone": Projected()}
    check_target_builder(OtherView(), **views, objective=Predictor(), learns=True)
    check_objective(Covariance(), OtherView(), **views, learns=True)
    network = views_network()
    targets = OtherView().build(network)
    learner = Learner(network, targets, Covariance().build(network, targets))
    batch = tiny_batch(views=2)
    _, loss = learner(batch, learner.objective.counts(batch))
    loss.terms["covariance"].backward()
    assert all(parameter.grad is not None for parameter in network.backbone.projector.parameters())
    with pytest.raises(SpecError, match="micro_batches must be 1 with Covariance"):
        Experiment(
            name="vicreg",
            source=TinySource(),
            encoder=TinyEncoder(),
            backbone=Projected(),
            targets=OtherView(),
            objective=Covariance(),
            training=Training(steps=1, batch=samples(4), learning_rate=1e-3, micro_batches=2),
        )


@attrs.frozen(kw_only=True)
class Centred(TargetBuilder):
    """DINO's: a centre that moves once per optimizer step, whatever the micro-batches."""

    def build(self, network: Network) -> TargetBuilderModule:
        return CentredModule(network.backbone.summary_width)


class CentredModule(TargetBuilderModule):
    centre: Tensor
    seen: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("seen", torch.zeros(width), persistent=False)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        summaries = [one.context.summary.detach() for one in passes]
        if self.training:
            self.seen += sum(summary.sum(0) for summary in summaries)
            self.count += sum(len(summary) for summary in summaries)
        return tuple(
            Target(view=other, values=(summary - self.centre).softmax(-1), level="sample")
            for view, summary in enumerate(summaries)
            for other in range(len(passes))
            if other != view
        )

    def after_step(self, network: Network, step: int) -> Mapping[str, float]:
        self.centre.lerp_(self.seen / self.count, 0.5)
        self.seen.zero_()
        self.count.zero_()
        return {}


def test_dinos_centre_moves_once_per_step_however_the_batch_is_split():
    centres = []
    for splits in ([range(4)], [range(3), range(3, 4)]):
        network = views_network().eval()
        builder = Centred().build(network)
        for ids in splits:
            targets = builder(tuple(network(view) for view in tiny_batch(ids, views=3).views), network)
            assert [target.view for target in targets] == [1, 2, 0, 2, 0, 1]
        builder.after_step(network, 1)
        centres.append(builder.centre.clone())
    assert torch.allclose(*centres, atol=1e-6)
    assert centres[0].abs().sum() > 0


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
    learner = Learner(network, targets, TiedCrossEntropy(network))
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
    learner = Learner(network, targets, Contrastive().build(network, targets))
    batch = tiny_batch(masker=TinyMasker())
    loss, _ = learner(batch, learner.objective.counts(batch))
    loss.backward()
    assert targets.quantiser.weight.grad.abs().sum() > 0, "targets take a gradient where the method wants it"
