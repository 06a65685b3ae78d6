"""The other contestant: data2vec 1 assembled from the encoders of transformers, as one would write it in an afternoon.

float32, `torch.optim.AdamW` as it comes, an average of the weights by a loop. Everything that determines the result
(sizes, dropout, targets, loss, optimizer) is read from the same experiment.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    Data2VecTextConfig,
    Data2VecTextModel,
    Data2VecVisionConfig,
    Data2VecVisionModel,
)
from workload import PIXELS, VOCABULARY, Workload

from didact import Experiment


class Assembled:
    """What the three modalities have in common: from predictions and targets to the next weights."""

    def __init__(self, experiment: Experiment, student: nn.Module, teacher: nn.Module, head: nn.Module) -> None:
        self.student, self.teacher, self.head = student.train(), teacher.eval().requires_grad_(False), head
        self.training, self.targets, self.objective = experiment.training, experiment.targets, experiment.objective
        decayed, spared = [], []
        for parameter in [*student.parameters(), *head.parameters()]:
            (decayed if parameter.ndim > 1 else spared).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": spared, "weight_decay": 0.0}],
            lr=self.training.optimizer.learning_rate,
            betas=self.training.optimizer.betas,
            eps=self.training.optimizer.epsilon,
            weight_decay=self.training.optimizer.weight_decay,
        )

    def __call__(self, workload: Workload) -> None:
        """One step."""
        with torch.no_grad():
            targets = self.make_targets(workload)  # (B, T, D)
        predictions = self.head(self.contextualize(workload)[workload.predicted])  # (N, D)
        targets = targets[workload.predicted]  # (N, D)
        if self.objective.beta == 0:
            distance = F.mse_loss(predictions, targets, reduction="sum")
        else:
            distance = F.smooth_l1_loss(predictions, targets, reduction="sum", beta=self.objective.beta)
        width = targets.shape[-1]
        scale = {"1/sqrt(width)": width**-0.5, "1/width": 1 / width, "1": 1.0}[self.objective.scale]
        self.optimizer.zero_grad()
        (distance * scale / targets.shape[0]).backward()
        parameters = [*self.student.parameters(), *self.head.parameters()]
        # without a limit the norm is still computed, as the other side does, to know whether it is finite
        torch.nn.utils.clip_grad_norm_(parameters, self.training.max_grad_norm or float("inf"))
        self.optimizer.step()
        self.follow()

    def contextualize(self, workload: Workload) -> Tensor:
        """The student's output behind the mask: (B, T, D)."""
        raise NotImplementedError

    def make_targets(self, workload: Workload) -> Tensor:
        """The average of the teacher's normalised top layers: (B, T, D)."""
        raise NotImplementedError

    def follow(self) -> None:
        """Moves the teacher after the student."""
        decay = self.targets.teacher.decay(1, self.training.steps)
        followed = dict(self.student.named_parameters())
        with torch.no_grad():
            for name, parameter in self.teacher.named_parameters():
                parameter.mul_(decay).add_(followed[name], alpha=1 - decay)

    def average(self, layers: list[Tensor]) -> Tensor:
        return normalize(
            torch.stack([normalize(layer, self.targets.normalize) for layer in layers]).mean(0),
            self.targets.normalize_average,
        )


class AssembledImages(Assembled):
    def __init__(self, experiment: Experiment, *, shares_encoder: bool) -> None:
        spec = experiment.backbone
        config = Data2VecVisionConfig(
            **_sizes(experiment),
            image_size=PIXELS,
            patch_size=experiment.encoder.patch,
            use_mask_token=True,
            use_shared_relative_position_bias=True,
            use_mean_pooling=False,
            layer_scale_init_value=spec.layer_scale,
            drop_path_rate=spec.drop_path,
            layer_norm_eps=spec.norm_epsilon,
            hidden_dropout_prob=spec.dropout,
            attention_probs_dropout_prob=spec.attention_dropout,
        )
        student = Data2VecVisionModel(config)
        super().__init__(experiment, student, copy.deepcopy(student), nn.Linear(spec.width, spec.width))

    def contextualize(self, workload: Workload) -> Tensor:
        output: Tensor = self.student(workload.content, bool_masked_pos=workload.predicted.flatten(1))[0]
        return output[:, 1:]

    def make_targets(self, workload: Workload) -> Tensor:
        states = self.teacher(workload.content, output_hidden_states=True).hidden_states
        return self.average([state[:, 1:] for state in states[-self.targets.k :]])


class AssembledSpeech(Assembled):
    def __init__(self, experiment: Experiment, *, shares_encoder: bool) -> None:
        spec = experiment.backbone
        config = Data2VecAudioConfig(
            **_sizes(experiment),
            hidden_dropout=spec.dropout,
            attention_dropout=spec.attention_dropout,
            activation_dropout=spec.activation_dropout,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            layer_norm_eps=spec.norm_epsilon,
            mask_time_prob=0.65,  # the masks are given; without a probability there is no mask embedding
        )
        student = Data2VecAudioModel(config)
        teacher = copy.deepcopy(student.encoder if shares_encoder else student)
        self.shares_encoder = shares_encoder
        super().__init__(experiment, student, teacher, nn.Linear(spec.width, spec.width))
        self.layers = _listen([layer.feed_forward for layer in _part(teacher, "encoder").layers])

    def contextualize(self, workload: Workload) -> Tensor:
        if self.shares_encoder:
            hidden = self.student._mask_hidden_states(self.projected.clone(), workload.predicted)
            return self.student.encoder(hidden).last_hidden_state
        return self.student(workload.content, mask_time_indices=workload.predicted).last_hidden_state

    def make_targets(self, workload: Workload) -> Tensor:
        self.layers.clear()
        if self.shares_encoder:
            with torch.enable_grad():
                features = self.student.feature_extractor(workload.content).transpose(1, 2)
                self.projected, _ = self.student.feature_projection(features)
            self.teacher(self.projected.detach())
        else:
            self.teacher(workload.content)
        return self.average(self.layers[-self.targets.k :])

    def follow(self) -> None:
        if not self.shares_encoder:
            return super().follow()
        student, self.student = self.student, self.student.encoder
        super().follow()
        self.student = student
        return None


class AssembledText(Assembled):
    def __init__(self, experiment: Experiment, *, shares_encoder: bool) -> None:
        spec = experiment.backbone
        config = Data2VecTextConfig(
            **_sizes(experiment),
            vocab_size=VOCABULARY,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=spec.norm_epsilon,
            hidden_dropout_prob=spec.dropout,
            attention_probs_dropout_prob=spec.attention_dropout,
        )
        student = Data2VecTextModel(config, add_pooling_layer=False)
        teacher = copy.deepcopy(student.encoder if shares_encoder else student)
        self.shares_encoder = shares_encoder
        head = nn.Sequential(nn.Linear(spec.width, 2 * spec.width), nn.GELU(), nn.Linear(2 * spec.width, spec.width))
        super().__init__(experiment, student, teacher, head)
        self.layers = _listen([layer.output.dense for layer in _part(teacher, "encoder").layer])

    def contextualize(self, workload: Workload) -> Tensor:
        output: Tensor = self.student(workload.masked_ids).last_hidden_state
        return output

    def make_targets(self, workload: Workload) -> Tensor:
        self.layers.clear()
        if self.shares_encoder:
            embeddings = self.student.embeddings.eval()
            self.teacher(embeddings(workload.content))
            embeddings.train()
        else:
            self.teacher(workload.content)
        return self.average(self.layers[-self.targets.k :])

    def follow(self) -> None:
        if not self.shares_encoder:
            return super().follow()
        student, self.student = self.student, self.student.encoder
        super().follow()
        self.student = student
        return None


STEPS: dict[str, Callable[..., Assembled]] = {
    "images": AssembledImages,
    "speech": AssembledSpeech,
    "text": AssembledText,
}


def normalize(values: Tensor, kind: str) -> Tensor:
    """(B, T, D) -> (B, T, D)."""
    if kind == "instance":
        return F.instance_norm(values.transpose(1, 2)).transpose(1, 2)
    return F.layer_norm(values, values.shape[-1:]) if kind == "layer" else values


def _sizes(experiment: Experiment) -> dict[str, int]:
    spec = experiment.backbone
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "intermediate_size": int(spec.width * spec.ffn_ratio),
    }


def _part(module: nn.Module, name: str) -> nn.Module:
    return getattr(module, name, module)


def _listen(modules: list[nn.Module]) -> list[Tensor]:
    heard: list[Tensor] = []
    for module in modules:
        module.register_forward_hook(lambda module, inputs, output: heard.append(output))
    return heard
