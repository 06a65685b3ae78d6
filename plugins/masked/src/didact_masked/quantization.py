"""wav2vec 2.0's targets: the encoder's latents, quantised by learned codebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor, nn

from didact import Batch, Network, SpecError, StudentPass, Target, TargetBuilder, TargetBuilderModule
from didact.preflight import Finding, Preflight


@attrs.frozen(kw_only=True)
class QuantizedTargets(TargetBuilder):
    """The encoder's latents, quantised by product quantisation with a Gumbel softmax.

    Baevski et al. 2020, wav2vec 2.0, section 2; Jegou et al. 2011 for product quantisation, Jang et al. 2016 for the
    softmax. Gradients flow to the codebooks, and through the choice of codes to the encoder.

    Attributes:
        width: width of a target; 256 for base models, 768 for large ones.
        groups: G, the number of codebooks; one code is chosen from each; 2.
        codes: V, the number of codes in each codebook; 320.
        start: temperature of the Gumbel softmax before the first step; 2.
        end: smallest temperature; 0.5 for base models, 0.1 for large ones.
        decay: factor of the temperature for each optimizer step; 0.999995, which takes 277 000 steps from 2 to 0.5.
        noise: scale of the Gumbel noise, which is drawn anew in every pass; 1. With 0 the most probable code is always
            chosen.
        dropout: dropout of the latents before quantisation; 0.1.
    """

    width: int = 256
    groups: int = 2
    codes: int = 320
    start: float = 2.0
    end: float = 0.5
    decay: float = 0.999995
    noise: float = 1.0
    dropout: float = 0.1

    def validate(self) -> None:
        self.require(self.groups >= 1, "groups", "at least 1")
        self.require(
            self.width >= 1 and self.width % self.groups == 0, "width", f"a multiple of groups ({self.groups})"
        )
        self.require(self.codes >= 2, "codes", "at least 2")
        self.require(self.start > 0, "start", "above 0")
        self.require(0 < self.end <= self.start, "end", f"above 0 and at most start ({self.start})")
        self.require(0 < self.decay <= 1, "decay", "above 0 and at most 1")
        self.require(self.noise >= 0, "noise", "at least 0")
        self.require(0 <= self.dropout < 1, "dropout", "from 0 up to but not 1")

    def temperature(self, step: int) -> float:
        """The temperature of the Gumbel softmax after ``step`` optimizer steps."""
        return max(self.end, self.start * self.decay**step)

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Checks that the temperature reaches ``end``."""
        last = self.temperature(preflight.steps)
        if last > self.end:
            yield Finding.warning(
                f"the codebooks' temperature falls from {self.start:g} to {last:.3g} in {preflight.steps:,} steps, and "
                f"never reaches {self.end:g}",
                where="decay",
                hint=f"at most {math.floor((self.end / self.start) ** (1 / preflight.steps) * 1e6) / 1e6:g}",
            )

    def build(self, network: Network) -> QuantizedTargetsModule:
        width = network.encoder.latent_width
        if width is None:
            raise SpecError(
                "QuantizedTargets quantises the encoder's latents, and this encoder gives none",
                hint="use an encoder with latents, such as didact_speech.ConvWaveform, or ClusterTargets",
            )
        return QuantizedTargetsModule(self, width)


@attrs.frozen(kw_only=True, eq=False)
class QuantizedTarget(Target):
    """A target of `QuantizedTargets`, with its codes.

    Attributes:
        ids: (B, T) int64; one number for each combination of chosen codes.
        probabilities: (B, T, G, V) float32, with gradient; the probabilities of the codes, without noise and at
            temperature 1.
    """

    ids: Tensor
    probabilities: Tensor


class QuantizedTargetsModule(TargetBuilderModule):
    """The codebooks.

    Attributes:
        logits: maps a position's latents to the logits of all codes.
        codebooks: (G, V, D / G).
        projection: maps the concatenated chosen codes to the target.
        temperature: a scalar.
    """

    temperature: Tensor

    def __init__(self, spec: QuantizedTargets, inputs: int) -> None:
        super().__init__()
        self.spec, self.width = spec, spec.width
        self.dropout = nn.Dropout(spec.dropout)
        self.logits = nn.Linear(inputs, spec.groups * spec.codes)
        self.codebooks = nn.Parameter(torch.rand(spec.groups, spec.codes, spec.width // spec.groups))  # as released
        self.projection = nn.Linear(spec.width, spec.width)
        self.register_buffer("temperature", torch.tensor(spec.temperature(0)))
        nn.init.normal_(self.logits.weight)  # N(0, 1), as released
        nn.init.zeros_(self.logits.bias)

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns one target for each view: values (B, T, D), with gradient."""
        return tuple(self._quantize(index, one.tokens.latents) for index, one in enumerate(passes))

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        temperature = self.spec.temperature(step)
        self.temperature.fill_(temperature)
        return {"quantizer/temperature": temperature}

    def _quantize(self, view: int, latents: Tensor | None) -> QuantizedTarget:
        """Quantises latents (B, T, F) with a straight-through gradient: hard choice forward, softmax backward."""
        assert latents is not None, "an encoder with a latent_width gives latents"
        spec = self.spec
        samples, t, _ = latents.shape
        logits = self.logits(self.dropout(latents)).float().view(samples, t, spec.groups, spec.codes)
        probabilities = logits.softmax(-1)  # (B, T, G, V)
        if self.training:
            noise = -torch.empty_like(logits).exponential_().log() * spec.noise if spec.noise else 0.0  # Gumbel's
            soft = ((logits + noise) / self.temperature).softmax(-1)
            chosen = soft.argmax(-1)  # (B, T, G)
            choice = _one_hot(chosen, soft) - soft.detach() + soft
        else:
            chosen = logits.argmax(-1)
            choice = _one_hot(chosen, logits)
        words = torch.einsum("btgv,gvd->btgd", choice, self.codebooks)  # (B, T, G, D / G)
        places = spec.codes ** torch.arange(spec.groups, device=chosen.device)
        return QuantizedTarget(
            view=view,
            values=self.projection(words.flatten(2)),
            ids=(chosen * places).sum(-1),
            probabilities=probabilities,
        )


def _one_hot(chosen: Tensor, like: Tensor) -> Tensor:
    """Returns one-hot vectors (*, V) of ``chosen`` (*) in the dtype of ``like``."""
    # PyTorch's one_hot reads the values, and so waits for the device
    return torch.zeros_like(like).scatter(-1, chosen[..., None], 1.0)
