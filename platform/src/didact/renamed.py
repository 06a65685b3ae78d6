"""Names from earlier commits and their replacements, for errors about old experiment files and run folders."""

from __future__ import annotations

FIELDS = {  # of specs; ``Class.field`` where other classes have such a field
    **{f"Training.{name}": f"optimizer.{name}" for name in ("learning_rate", "weight_decay", "betas", "epsilon")},
    "micro_batches": "gradient_accumulation_steps",
    "recompute": "activation_checkpointing",
    "clip_norm": "max_grad_norm",
    "workers": "num_workers",
    "parallel": "strategy",
    "decay_vectors": "no field any more: modules name what is not decayed in `no_weight_decay()`",
    "course": "schedule",
    "shares": "share",
    "descriptor": "feature",
}
NAMES = {  # of classes and functions
    "samples": "BatchSize.samples",
    "seconds": "BatchSize.seconds",
    "tokens": "BatchSize.tokens",
    "Context": "BackboneOutput",
    "Collect": "HiddenState",
    "Subject": "RunState",
    "Sound": "Source.audio",
    "Medium": "didact_stores.Medium",
    "Record": "didact_stores.Record",
    "CosinePrediction": "NegativeCosineSimilarity",
    "TriStage": "didact_distill.TriStage",
    "TeacherSummaries": "TeacherProjections",
    "StudentSummaries": "StudentProjections",
    "DistortedViews": "MultiViewAugmentation",
    "Pictures": "Visualizations",
    "Health": "RepresentationMetrics",
    "CellMasker": "RandomMasker",
    "Descriptor": "TargetFeature",
    "DescriptorTargets": "FeatureTargets",
    "span": "torch.profiler.record_function",
    **{name: f"didact.placing.{name}" for name in ("corrupt", "drop", "prepend", "repeat")},
    "restore": "didact_distill.restoring.restore",
    **{name: f"didact_ablate.{name}" for name in ("experiment_in", "RunFinder", "close")},
    "Augmentation": "didact_vision.Augmentation",
    "sincos_positions": "didact_transformer.sincos.sincos_positions",
}
