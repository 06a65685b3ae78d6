"""The EMA teacher: a moving average of the student's weights (data2vec §3.2, eq. 1)."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

import attrs
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from didact import BackboneOutput, FeatureEncoderModule, HiddenState, Network, StudentPass, Teacher, TeacherModule
from didact.preflight import Finding, Preflight

MOST_LEFT = 0.1  # a larger share of random initialisation left in the teacher at a run's end causes a warning
HALF_LIVES = 10  # number of the teacher's half-lives in a run that the hint recommends


@attrs.frozen(kw_only=True)
class EMATeacher(Teacher):
    """An exponential moving average of the student: θ̄ ← τ θ̄ + (1 - τ) θ, once per optimizer step.

    τ rises from ``start`` to ``end`` over ``anneal_steps`` and stays there. The average is float32 whatever the
    precision of the forward pass. Buffers and frozen parameters are copied and never averaged.

    Attributes:
        start: τ at the first step; 0.999 in data2vec on speech and text, 0.9998 on images. 0.999 is a half-life of 693
            steps; short runs need a lower value.
        end: τ after ``anneal_steps``; 0.9999 in data2vec. At 1 the teacher no longer changes.
        anneal_steps: optimizer steps over which τ rises; 30 000 in data2vec on speech, 100 000 on text. 0: τ is always
            ``end``. None: the whole run.
        schedule: how τ rises: ``linear`` (data2vec), or half a period of a ``cosine`` (BYOL and DINO, from 0.996 to 1
            over the whole run).
        share: the parts that the teacher shares with the student instead of averaging them. ``encoder``: the whole
            feature encoder, including position codes (data2vec on speech and text). ``features``: the encoder's
            embedded features, while its position codes are averaged (data2vec 2.0 on speech, and the released code
            of data2vec on speech). ``nothing``: everything is averaged (data2vec on images).
    """

    start: float = 0.999
    end: float = 0.9999
    anneal_steps: int | None = 30_000
    schedule: Literal["linear", "cosine"] = "linear"
    share: Literal["encoder", "features", "nothing"] = "encoder"

    def validate(self) -> None:
        self.require(0 <= self.start <= 1, "start", "between 0 and 1")
        self.require(0 <= self.end <= 1, "end", "between 0 and 1")
        self.require(self.anneal_steps is None or self.anneal_steps >= 0, "anneal_steps", "at least 0, or None")

    def decay(self, step: int, steps: int) -> float:
        """τ of the update after optimizer step ``step``, counted from 1, in a run of ``steps``."""
        rising = self._rising(steps)
        if step >= rising:
            return self.end
        share = step / rising
        if self.schedule == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Reports how much of its initialisation the teacher keeps, and whether τ reaches ``end``."""
        steps = preflight.steps
        rising = self._rising(steps)
        last, left = self.decay(steps, steps), self._left(steps)
        if last >= 1:
            half_life = "at the end it no longer changes"
        else:
            updates = 0.0 if last == 0 else math.log(0.5) / math.log(last)
            half_life = f"at the end its half-life is {updates:,.0f} steps"
        if left > MOST_LEFT and preflight.pretrained:
            yield Finding.fine(f"{left:.0%} of the teacher's start remains after {steps:,} steps; {half_life}")
        elif left > MOST_LEFT:
            forgetting = 0.5 ** (HALF_LIVES / steps)
            yield Finding.warning(
                f"{left:.0%} of the teacher is still its random initialisation after {steps:,} steps; {half_life}",
                where="end" if rising < steps else "start",
                hint=f"set start and end to at most {math.floor(forgetting * 1e5) / 1e5:g}: {HALF_LIVES} half-lives",
            )
        else:
            yield Finding.fine(f"the teacher forgets its initialisation in {steps:,} steps; {half_life}")
        if self.start != self.end and rising > steps:
            yield Finding.warning(
                f"the teacher's decay rises over {rising:,} steps, of which the run takes {steps:,}: it "
                f"ends at {last:.6g} and never reaches {self.end:g}",
                where="anneal_steps",
                hint=f"set anneal_steps to None, for the whole run, or to at most {steps}",
            )

    def _rising(self, steps: int) -> int:
        """The number of steps over which τ rises in a run of ``steps``."""
        return steps if self.anneal_steps is None else self.anneal_steps

    def _left(self, steps: int) -> float:
        """The share of the teacher that no update has replaced: the product of all τ."""
        rising = min(steps, self._rising(steps))
        points = min(rising, 1000)  # enough for the mean of the logarithm
        middles = (self.decay(max(1, round((point + 0.5) / points * rising)), steps) for point in range(points))
        total = sum(math.log(max(tau, 1e-9)) for tau in middles) / points * rising if points else 0.0
        return math.exp(total + (steps - rising) * math.log(max(self.end, 1e-9)))

    def build(self, network: Network) -> EMATeacherModule:
        return EMATeacherModule(self, network)


class EMATeacherModule(TeacherModule):
    """The averaged weights. The module is always in evaluation mode."""

    def __init__(self, spec: EMATeacher, network: Network) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = copy.deepcopy(network.backbone)
        self.encoder = _own_part(network.encoder, spec.share)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Keeps evaluation mode, whatever the mode of the student."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, student: StudentPass, network: Network, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """The teacher's pass over the unmasked view: output (B, V, D), hidden states (B, V, D) each."""
        with record_function("teacher"):
            encoder = self._own_encoder(network)
            with _evaluating(encoder):
                if self.spec.share == "nothing" or not student.encoded:
                    tokens = encoder.embed(student.view)
                    if student.encoded:  # the student's padding, which targets may extend
                        tokens = attrs.evolve(tokens, padding=student.tokens.padding)
                else:
                    tokens = attrs.evolve(student.tokens, features=student.tokens.features.detach())
                placed = encoder.place(tokens, None)
            context: BackboneOutput = self.backbone(placed, hidden_states)
        return context

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        decay = self.spec.decay(step, steps)
        with record_function("ema"):
            averaged: list[Tensor] = []
            followed: list[Tensor] = []
            for teacher, student in self._pairs(network):
                weights = dict(student.named_parameters(remove_duplicate=False))
                for name, mine in teacher.named_parameters():
                    if weights[name].requires_grad:
                        averaged.append(mine)
                        followed.append(weights[name])
                    else:
                        mine.copy_(weights[name])
                buffers = dict(student.named_buffers(remove_duplicate=False))
                for name, buffer in teacher.named_buffers():
                    buffer.copy_(buffers[name])
            _lerp(averaged, followed, 1 - decay)
        return {"teacher/decay": decay}

    def evaluated_network(self, network: Network) -> Network:
        return Network(self._own_encoder(network), self.backbone, network.signal, network.layout)

    def _own_encoder(self, network: Network) -> FeatureEncoderModule:
        """The teacher's encoder: its average, the student's, or the student's with averaged position parts."""
        if self.encoder is None:
            return network.encoder
        if isinstance(self.encoder, FeatureEncoderModule):
            return self.encoder
        joined = copy.copy(network.encoder)  # shares the student's children; these two mappings are its own
        joined._modules = network.encoder._modules | self.encoder._modules
        joined._parameters = network.encoder._parameters | self.encoder._parameters
        return joined

    def _pairs(self, network: Network) -> Iterator[tuple[nn.Module, nn.Module]]:
        yield self.backbone, network.backbone
        if self.encoder is not None:
            yield self.encoder, network.encoder


def _own_part(encoder: FeatureEncoderModule, share: str) -> nn.Module | None:
    """Copies the parts of the encoder that the teacher does not share; see `FeatureEncoderModule.position_parts`."""
    if share == "encoder":
        return None
    if share == "nothing":
        return copy.deepcopy(encoder)
    names, parts, memo = encoder.position_parts, nn.Module(), dict[int, object]()
    for name, child in encoder.named_children():
        if names is None or name in names:
            parts.add_module(name, copy.deepcopy(child, memo))
    for name, parameter in encoder.named_parameters(recurse=False):
        if names is None or name in names:
            parts.register_parameter(name, copy.deepcopy(parameter, memo))
    return parts


def _lerp(averaged: list[Tensor], followed: list[Tensor], weight: float) -> None:
    if averaged and weight > 0:
        torch._foreach_lerp_(averaged, followed, weight)  # one pass over all weights


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Puts an encoder in evaluation mode; the released text model of data2vec 2.0 keeps the student's dropout on."""
    modes = [(each, each.training) for each in module.modules()]
    module.train(False)
    try:
        yield
    finally:
        for each, mode in modes:  # one by one: a part may be kept in evaluation mode while the rest trains
            each.training = mode
