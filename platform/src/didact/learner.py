"""The learner: one training step, written once for every method.

    Batch ─FeatureEncoder─▶ Tokens ─┬─Mask─ place ─▶ Backbone ─▶ Context ─┐
                                    └───────── TargetBuilder ──▶ Targets ─┴─Objective─▶ Loss

Nothing here knows what a modality, a teacher or the shape of a mask is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from didact.contracts import BackboneModule, FeatureEncoderModule, ObjectiveModule, Source, TargetBuilderModule
from didact.errors import SpecError, of_field
from didact.experiment import Experiment
from didact.randomness import seeded
from didact.tensors import Batch, BatchMask, Collect, Context, Layout, Loss, Signal, StudentPass, Tokens, View
from didact.timing import span

TOLD = 3  # tensors that an error names; the others it counts


class Network(nn.Module):
    """An encoder and a backbone: what is trained, averaged by a teacher, and judged.

    Attributes:
        signal: what the samples are.
        layout: of a sample's positions, where all samples have the same; else None.
    """

    def __init__(
        self, encoder: FeatureEncoderModule, backbone: BackboneModule, signal: Signal, layout: Layout | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.signal = signal
        self.layout = layout

    def forward(self, view: View) -> StudentPass:
        """What the student makes of a view, behind the view's mask."""
        with span("encoder"):
            tokens = self.encoder.embed(view)
        with span("student forward"):
            context = self.contextualize(tokens, view.mask)
        return StudentPass(view=view, tokens=tokens, context=context)

    def contextualize(self, tokens: Tokens, mask: BatchMask | None, collect: Collect | None = None) -> Context:
        """Places the tokens behind a mask, or all of them where it is None, and relates them: (R, V, D)."""
        context: Context = self.backbone(self.encoder.place(tokens, mask), collect)
        return context


class Learner(nn.Module):
    """A network, what it must predict, and how that is measured.

    Args:
        network: the student.
        targets: what it must predict.
        objective: how that is measured.
        source: of the samples, which finishes batches.
    """

    def __init__(
        self, network: Network, targets: TargetBuilderModule, objective: ObjectiveModule, source: Source
    ) -> None:
        super().__init__()
        self.source = source
        self.network = network
        self.targets = targets
        self.objective = objective

    def forward(self, batch: Batch, totals: Mapping[str, int]) -> tuple[Tensor, Loss]:
        """The loss of a batch, or of a part of one.

        Args:
            batch: one or more views, each behind its M masks.
            totals: what `counts` adds up to over the whole global batch, of which ``batch`` may be a part.

        Returns:
            The loss to minimise, a scalar with gradient, of which the parts of a global batch add up to the whole's;
            and what the objective said.
        """
        device = batch.views[0].content.device.type
        with span("augmentation"), torch.no_grad(), torch.autocast(device, enabled=False):
            batch = self.source.finish(batch)
        passes = tuple(self.network(view) for view in batch.views)
        with span("targets"):
            targets = self.targets(passes, self.network)
        with span("objective"):
            loss: Loss = self.objective(passes, targets)
        total = torch.stack([term.float() / max(1, totals[name]) for name, term in loss.terms.items()]).sum()
        return total, loss

    def after_step(self, step: int, steps: int) -> Mapping[str, float]:
        """Lets the teacher follow, once per optimizer step of so many; returns scalars to log."""
        return self.targets.after_step(self.network, step, steps)


def build_network(experiment: Experiment) -> Network:
    """The experiment's network at its random initialisation, the same for the same seed.

    Each part is initialised under a seed of its own, so that swapping one leaves the others as they were.

    Raises:
        SpecError: parts do not fit each other.
    """
    seed = experiment.training.seed
    signal = experiment.source.signal()
    axes = tuple(axis for axis in signal.axes if axis is not None)
    with of_field("encoder"), seeded(seed, "initialise", "encoder"):
        encoder = experiment.encoder.build(signal)
        layout = experiment.encoder.layout(axes) if len(axes) == len(signal.axes) else None
    with of_field("backbone"), seeded(seed, "initialise", "backbone"):
        backbone = experiment.backbone.build(experiment.encoder.width, layout)
    return Network(encoder, backbone, signal, layout)


def build_learner(experiment: Experiment, pretrained: Network | None = None) -> Learner:
    """The experiment's parts, built from upstream to downstream.

    Args:
        experiment: that names them.
        pretrained: whose weights the network takes before anything is made of it, such as a teacher. None leaves it at
            random, whatever ``experiment.weights`` says: for whoever fills the learner from a checkpoint, or asks only
            for its shapes. `didact.record.pretrained` finds what the experiment names.

    Raises:
        SpecError: parts do not fit each other, nor the pretrained weights them; says which field.
    """
    seed = experiment.training.seed
    network = build_network(experiment)
    if pretrained is not None:
        with of_field("weights"):
            _take_over(pretrained, network)
    with of_field("targets"), seeded(seed, "initialise", "targets"):
        targets = experiment.targets.build(network)
    with of_field("objective"), seeded(seed, "initialise", "objective"):
        objective = experiment.objective.build(network, targets)
    return Learner(network, targets, objective, experiment.source)


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a checkpoint holds of a module: each parameter and persistent buffer, of any shape, once and by one name."""
    persistent = module.state_dict(keep_vars=True).keys()
    yield from module.named_parameters(remove_duplicate=True)
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in persistent)


def _take_over(pretrained: Network, network: Network) -> None:
    """Copies the weights of one network into another; their tensors must agree in name and shape, all of them.

    Raises:
        SpecError: they do not; names the first of those that differ.
    """
    if pretrained.signal.coding != network.signal.coding:
        raise SpecError(
            f"the weights learned to read {pretrained.signal.coding}, and the source gives {network.signal.coding}",
            where="run",
            mend="give the source what the run read with, as its experiment.json has it",
        )
    theirs, mine = dict(named_tensors(pretrained)), dict(named_tensors(network))
    different = []
    for name in dict.fromkeys([*mine, *theirs]):
        if name not in theirs:
            different.append(f"{name} {tuple(mine[name].shape)} is missing in the run")
        elif name not in mine:
            different.append(f"{name} {tuple(theirs[name].shape)} is in the run alone")
        elif mine[name].shape != theirs[name].shape:
            there, here = tuple(theirs[name].shape), tuple(mine[name].shape)
            different.append(f"{name} is {there} in the run and {here} here")
    if different:
        more = f"; and {len(different) - TOLD} more" if len(different) > TOLD else ""
        raise SpecError(
            f"the weights are those of another network: {'; '.join(different[:TOLD])}{more}",
            where="run",
            mend="make encoder and backbone as the run's experiment.json has them, and the samples' size where a "
            "tensor depends on it",
        )
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(theirs[name])


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of the counts of several batches, term by term."""
    totals: dict[str, int] = {}
    for count in counts:
        for name, value in count.items():
            totals[name] = totals.get(name, 0) + value
    return totals
