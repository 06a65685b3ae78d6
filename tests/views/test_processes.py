"""Statistics of the global batch: two processes give the results of one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didact.record.folder import read_metrics
from didact_stores import Record
from didact_stores.ingest.writing import write_store

EXPERIMENT = '''
"""Methods that compare views, a few steps long."""

from didact import AdamW, BatchSize, Experiment, Training
from didact_distill import EMATeacher
from didact_transformer import Transformer
from didact_views import *
from didact_vision import Images, Patches

teacher = EMATeacher(start=0.9, end=0.99, anneal_steps=6, schedule="cosine", share="nothing")


def compose(targets, objective, projector, inner=None, encoder=None, **views):
    return Experiment(
        name="tiny-views",
        source=Images(store="STORE", size=32, augmentation=MultiViewAugmentation.dino(**views)),
        encoder=encoder or Patches(width=16, patch=8),
        backbone=Projected(
            backbone=inner or Transformer(width=16, depth=2, heads=2, dropout=0.0, attention_dropout=0.0),
            projector=projector,
        ),
        targets=targets,
        objective=objective,
        training=Training(
            steps=5,
            batch=BatchSize.samples(9),
            optimizer=AdamW(learning_rate=1e-3),
            precision="float32",
            num_workers=0,
            log_every=1,
        ),
    )


mlp = MLP(hidden=12, out=8)
two = {"local_views": 0}
byol = compose(TeacherProjections(teacher=teacher), NegativeCosineSimilarity(hidden=12), mlp, **two)
simsiam = compose(StudentProjections(), NegativeCosineSimilarity(hidden=12), mlp.evolve(output_norm="batch"), **two)
vicreg = compose(StudentProjections(gradient="flow"), VICReg(), mlp, **two)
dino = compose(
    PrototypeTargets(teacher=teacher, warmup_steps=3),
    PrototypeCrossEntropy(),
    PrototypeHead(hidden=12, bottleneck=6, prototypes=20),
    local_views=2,
    local_size=16,
)
dino_batch = dino.evolve(**{"backbone.projector.norm": "batch"})
resnet = compose(
    TeacherProjections(teacher=teacher), NegativeCosineSimilarity(hidden=12), mlp, TimmModel(name="test_resnet"),
    Pixels(), **two
)
'''

pytestmark = pytest.mark.xdist_group("views")  # each run is made once for all

EXACT = {"rel": 2e-5, "abs": 1e-6}  # float32 sums in another order
ENLARGED = {"rel": 3e-3, "abs": 1e-5}  # the same after steps of Adam, whose direction is that of the gradient's sign


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working directory with a store of noise and the experiments, and what each gives on one process."""
    folder = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)

    def records():
        for index in range(27):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            data = io.BytesIO()
            Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(data, "PNG")
            yield Record(data=data.getvalue(), length=1, name=f"{index}.png")

    write_store(folder / "store", "images", "images", records())
    (folder / "tiny.py").write_text(EXPERIMENT.replace("STORE", str(folder / "store")))
    return folder


@pytest.fixture(scope="module")
def run(folder, on_processes) -> Callable[..., list[dict[str, float]]]:
    """Returns the metrics of each step of a run, which is made once."""

    def curve(name: str, processes: int, *settings: str) -> list[dict[str, float]]:
        out = folder / "-".join([name, str(processes), *settings]).replace("=", "-")
        if not out.exists():
            words = [word for setting in settings for word in ("--set", setting)]
            done = on_processes(folder, processes, "run", f"tiny.py:{name}", "--out", out, *words)
            assert done.returncode == 0, done.stderr
        return read_metrics(out)

    return curve


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parallel"),
    [
        ("byol", "ddp"),
        ("byol", "fsdp"),
        ("simsiam", "ddp"),
        ("vicreg", "ddp"),
        ("dino", "ddp"),
        ("dino_batch", "fsdp"),
        ("resnet", "ddp"),
    ],
)
def test_two_processes_take_the_curve_of_one(run, name, parallel):
    alone, together = run(name, 1), run(name, 2, f"training.strategy={parallel}")
    assert len(alone) == len(together) == 5
    terms = [name for name in alone[0] if name.startswith("train/") and "rate" not in name]
    for term in terms:
        assert together[0][term] == pytest.approx(alone[0][term], **EXACT), term
        assert [m[term] for m in together] == pytest.approx([m[term] for m in alone], **ENLARGED), term


@pytest.mark.slow
def test_dinos_micro_batches_take_the_same_curve(run):
    whole, parts = run("dino", 1), run("dino", 1, "training.gradient_accumulation_steps=3")
    assert [m["train/loss"] for m in parts] == pytest.approx([m["train/loss"] for m in whole], **ENLARGED)
