"""The example experiment of a new plugin: data2vec on generated series, with the plugin's own part."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from didact_kit.scaffold.filling import WIDTH


@attrs.frozen(kw_only=True)
class Part:
    """An expression in a field of the experiment, and its imports.

    Attributes:
        code: the expression.
        imports: ``package → names``.
    """

    code: str
    imports: dict[str, tuple[str, ...]]


PARTS = {
    "encoder": Part(code="Arrays(width=32, patch=2)", imports={"didact_perceiver": ("Arrays",)}),
    "masker": Part(code="RandomMasker(cells=8, ratio=0.5)", imports={"didact_perceiver": ("RandomMasker",)}),
    "backbone": Part(
        code="Transformer(width=32, depth=2, heads=4, dropout=0.0, attention_dropout=0.0)",
        imports={"didact_transformer": ("Transformer",)},
    ),
    "targets": Part(
        code="TopKTargets(k=2, teacher=EMATeacher(start=0.9, end=0.99, anneal_steps=None))",
        imports={"didact_distill": ("EMATeacher", "TopKTargets")},
    ),
    "objective": Part(code="LatentRegression()", imports={"didact_distill": ("LatentRegression",)}),
}
OPTIMIZER = Part(code="AdamW(learning_rate=2e-3)", imports={"didact": ("AdamW",)})
EVALUATION = Part(code="Probe(train=train, test=test)", imports={"didact_evaluate": ("Probe",)})

CODE = {  # the expression with the new component, for each kind
    "masker": "{cls}()",
    "feature-encoder": "{cls}(width=32)",
    "backbone": "{cls}(width=32, depth=2)",
    "target-builder": "{cls}(teacher=EMATeacher(start=0.9, end=0.99, anneal_steps=None))",
    "objective": "{cls}()",
    "teacher": "TopKTargets(k=2, teacher={cls}(every=20))",
    "source": "{cls}()",
    "evaluation": "{cls}(train=train, test=test)",
    "observer": "({cls}(),)",
    "optimizer": "{cls}(learning_rate=2e-4)",
    "schedule": "{cls}(warmup_steps=20)",
}
FIELDS = {
    "masker": "masker",
    "feature-encoder": "encoder",
    "backbone": "backbone",
    "target-builder": "targets",
    "teacher": "targets",
    "objective": "objective",
}
BESIDE = {"target-builder": ("EMATeacher",), "teacher": ("TopKTargets",)}  # parts of didact_distill


def usage(kind: str, cls: str) -> str:
    """Returns a component in its field of an experiment, as in the example experiment of a new plugin."""
    code = CODE[kind].format(cls=cls)
    if kind == "evaluation":
        return f'evaluations={{"classes": {code}}}'
    if kind in ("optimizer", "schedule"):
        return f"training=Training({kind}={code}, …)"
    fields = {**FIELDS, "source": "source", "observer": "observers"}
    return f"{fields[kind]}={code}"


def experiment(name: str, kind: str, package: str, cls: str) -> str:
    """Returns the content of the experiment's file.

    Args:
        name: the name of the plugin.
        kind: the kind of its component.
        package: the package that contains the component.
        cls: the name of the component's class.
    """
    own = Part(
        code=CODE[kind].format(cls=cls),
        imports={package: (cls,), **({"didact_distill": BESIDE[kind]} if kind in BESIDE else {})},
    )
    source = own if kind == "source" else Part(code="Series()", imports={package: ("Series",)})
    evaluation = own if kind == "evaluation" else EVALUATION
    parts = {**PARTS, **({FIELDS[kind]: own} if kind in FIELDS else {})}
    observers = [own] if kind == "observer" else []
    optimizer = own if kind == "optimizer" else OPTIMIZER
    schedules = [own] if kind == "schedule" else []
    imports: dict[str, set[str]] = {"didact": {"BatchSize", "Experiment", "Training"}}
    for part in (source, evaluation, optimizer, *schedules, *parts.values(), *observers):
        for module, names in part.imports.items():
            imports.setdefault(module, set()).update(names)
    rates = [f"optimizer={optimizer.code}", *(f"schedule={part.code}" for part in schedules)]
    lines = [
        f'"""data2vec on generated series, with the {kind.replace("-", " ")} of didact-{name}.',
        "",
        "Claim: none yet; the experiment shows that all parts fit, and is a place to start from.",
        "Cost: half a minute of one core's time.",
        "Expected: a classifier's accuracy, in the run's README, on the learned features, on those of the untrained",
        "    network, and on the series themselves.",
        "Command: didact run experiment.py",
        '"""',
        "",
        *(f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())),
        "",
        f"train = {source.code}",
        "test = train.evolve(count=256, seed=1)  # other samples of the same classes",
        "",
        "experiment = Experiment(",
        f'    name="{name}",',
        "    source=train,",
        *(f"    {field}={part.code}," for field, part in parts.items()),
        *_training(["steps=200", "batch=BatchSize.samples(32)", *rates, "num_workers=0"]),
        f'    evaluations={{"classes": {evaluation.code}}},',
        *(f"    observers={observer.code}," for observer in observers),
        ")",
        "",
    ]
    return "\n".join(lines)


def _training(fields: Sequence[str]) -> list[str]:
    """Returns the lines of the training, as a formatter would write them."""
    together = ", ".join(fields)
    if len(line := f"    training=Training({together}),") <= WIDTH:
        return [line]
    within = [f"        {together}"]
    if len(within[0]) > WIDTH:
        within = [f"        {field}," for field in fields]
    return ["    training=Training(", *within, "    ),"]
