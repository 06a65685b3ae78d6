"""The EMA teacher: a moving average of the student's weights (data2vec §3.2, eq. 1)."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from typing import Literal, Self

import attrs
import torch
from torch import Tensor, nn

from didact import Collect, Context, Finding, Network, Preflight, StudentPass, Teacher, TeacherModule, span

MOST_LEFT = 0.1  # of the random initialisation, in the teacher at the end of a run
HALF_LIVES = 10  # in a run whose teacher forgets well


@attrs.frozen(kw_only=True)
class EMATeacher(Teacher):
    """An exponential moving average of the student: θ̄ ← τ θ̄ + (1 - τ) θ, once per optimizer step.

    τ rises from ``start`` to ``end`` over ``anneal_steps`` and stays there. The average is kept in float32
    whatever the precision of the forward pass. Buffers and frozen parameters are copied, never averaged.

    Attributes:
        start: τ at the first step; data2vec uses 0.999 for speech and text, 0.9998 for images. At 0.999 half of the
            teacher is younger than 693 steps: short runs need less.
        end: τ after ``anneal_steps``; data2vec uses 0.9999. At 1 the teacher stands still.
        anneal_steps: optimizer steps over which τ rises; data2vec: 30 000 for speech, 100 000 for text. 0: τ is
            ``end`` throughout. None: over the whole run, however long it is.
        course: by which τ rises. ``linear`` (data2vec), or half a ``cosine`` (BYOL and DINO, from 0.996 to 1 over the
            whole run).
        shares: which of the student's own parts the teacher uses instead of an average of them. ``encoder``: the whole
            feature encoder, position codes included (data2vec on speech and text). ``features``: the encoder's output,
            while its position codes are averaged (data2vec 2.0 on speech, and what was released of data2vec on
            speech). ``nothing``: all is averaged (data2vec on images).
    """

    start: float = 0.999
    end: float = 0.9999
    anneal_steps: int | None = 30_000
    course: Literal["linear", "cosine"] = "linear"
    shares: Literal["encoder", "features", "nothing"] = "encoder"

    def validate(self) -> None:
        self.require(0 <= self.start <= 1, "start", "between 0 and 1")
        self.require(0 <= self.end <= 1, "end", "between 0 and 1")
        self.require(self.anneal_steps is None or self.anneal_steps >= 0, "anneal_steps", "at least 0, or None")

    def decay(self, step: int, steps: int) -> float:
        """τ for the update after optimizer step ``step``, from 1, of a run of ``steps``."""
        rising = self._rising(steps)
        if step >= rising:
            return self.end
        share = step / rising
        if self.course == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """How much of the run the teacher remembers."""
        steps = preflight.steps
        rising = self._rising(steps)
        last, left = self.decay(steps, steps), self._left(steps)
        if last >= 1:
            half_life = "at the end it stands still"
        else:
            updates = 0.0 if last == 0 else math.log(0.5) / math.log(last)
            half_life = f"at the end its half-life is {updates:,.0f} steps"
        if left > MOST_LEFT and preflight.pretrained:
            yield Finding.fine(f"{left:.0%} of the teacher is still what it began as in {steps:,} steps; {half_life}")
        elif left > MOST_LEFT:
            forgetting = 0.5 ** (HALF_LIVES / steps)
            yield Finding.warning(
                f"{left:.0%} of the teacher is still its random initialisation after {steps:,} steps; {half_life}",
                where="end" if rising < steps else "start",
                mend=f"start and end at most {math.floor(forgetting * 1e5) / 1e5:g}, for {HALF_LIVES} half-lives",
            )
        else:
            yield Finding.fine(f"the teacher forgets its initialisation in {steps:,} steps; {half_life}")
        if self.start != self.end and rising > steps:
            yield Finding.warning(
                f"the teacher's decay rises over {rising:,} steps, of which the run takes {steps:,}: it "
                f"ends at {last:.6g} and never reaches {self.end:g}",
                where="anneal_steps",
                mend=f"anneal_steps=None, the whole run, or at most {steps}",
            )

    def _rising(self, steps: int) -> int:
        """The steps over which τ rises in a run of ``steps``."""
        return steps if self.anneal_steps is None else self.anneal_steps

    def _left(self, steps: int) -> float:
        """The share of the teacher that no update has replaced: the product of all τ."""
        rising = min(steps, self._rising(steps))
        points = min(rising, 1000)  # of a line, the mean of its logarithm needs no more
        middles = (self.decay(max(1, round((point + 0.5) / points * rising)), steps) for point in range(points))
        total = sum(math.log(max(tau, 1e-9)) for tau in middles) / points * rising if points else 0.0
        return math.exp(total + (steps - rising) * math.log(max(self.end, 1e-9)))

    def build(self, network: Network) -> EMATeacherModule:
        return EMATeacherModule(self, network)


class EMATeacherModule(TeacherModule):
    """The averaged weights. Always in evaluation mode."""

    def __init__(self, spec: EMATeacher, network: Network) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = copy.deepcopy(network.backbone)
        self.encoder = None if spec.shares == "encoder" else copy.deepcopy(network.encoder)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever the student does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, student: StudentPass, network: Network, collect: Collect | None = None) -> Context:
        """The context of the unmasked view: output (B, V, D), features (B, V, D) each."""
        with span("teacher"):
            encoder = network.encoder if self.encoder is None else self.encoder
            with _evaluating(encoder):
                if self.spec.shares == "nothing":  # what may be seen is the student's to say, what it is our own
                    tokens = attrs.evolve(encoder.embed(student.view), padding=student.tokens.padding)
                else:
                    tokens = attrs.evolve(student.tokens, features=student.tokens.features.detach())
                placed = encoder.place(tokens, None)
            context: Context = self.backbone(placed, collect)
        return context

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        decay = self.spec.decay(step, steps)
        with span("ema"):
            averaged: list[Tensor] = []
            followed: list[Tensor] = []
            for teacher, student in self._pairs(network):
                for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                    if theirs.requires_grad:
                        averaged.append(mine)
                        followed.append(theirs)
                    else:
                        mine.copy_(theirs)
                for kept, current in zip(teacher.buffers(), student.buffers(), strict=True):
                    kept.copy_(current)
            _lerp(averaged, followed, 1 - decay)
        return {"teacher/decay": decay}

    def subject(self, network: Network) -> Network:
        encoder = network.encoder if self.encoder is None else self.encoder
        return Network(encoder, self.backbone, network.signal, network.layout)

    def _pairs(self, network: Network) -> Iterator[tuple[nn.Module, nn.Module]]:
        yield self.backbone, network.backbone
        if self.encoder is not None:
            yield self.encoder, network.encoder


def _lerp(averaged: list[Tensor], followed: list[Tensor], weight: float) -> None:
    if averaged and weight > 0:
        torch._foreach_lerp_(averaged, followed, weight)  # one pass over all weights


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """A shared encoder drops nothing for the teacher (the released text model does: reference Q11)."""
    training = module.training
    module.train(False)
    try:
        yield
    finally:
        module.train(training)
