"""Each method on 1, 2 and 4 processes, with steps that are left out, and killed and resumed: one curve."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from didact import Batch, BatchSize, Constant, Cosine, Experiment, ParameterGroup, Training, run
from didact.machine.distributed import joined
from didact.record.checkpoint import OPTIMIZER, newest_whole, read_tensors
from didact.record.folder import read_metrics
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_finetune import Classification, Labels
from didact_masked import BlockPredictor
from didact_optimizers import LARS, SGD
from didact_stores import Record
from didact_stores.ingest.writing import write_store
from didact_text import TokenEmbeddings
from didact_transformer import Transformer
from didact_views import (
    MLP,
    CaptionedImages,
    InfoNCE,
    MultiViewAugmentation,
    NegativeCosineSimilarity,
    Projected,
    PrototypeCrossEntropy,
    PrototypeHead,
    PrototypeTargets,
    SIGReg,
    SinkhornTargets,
    StudentProjections,
    TeacherProjections,
)
from didact_vision import Images, MultiBlockMasker, Patches, RandomCrop

STEPS, BAD = 8, 5  # BAD: the image whose pixels are not finite when a step reads them
CLASSES = ("circle", "cross", "square")
BLOCKS = Transformer(width=16, depth=1, heads=2, dropout=0.0, attention_dropout=0.0)
TEACHER = EMATeacher(start=0.9, end=0.99, anneal_steps=6, schedule="cosine", share="nothing")
PROTOTYPES = "network.backbone.projector.prototypes"
UNSEEDED = ("time/", "memory/", "data/padding")  # padding depends on how a batch is split


def write_images(folder: Path) -> None:
    """Writes a store of 40 images of noise with labels."""
    rng = np.random.default_rng(0)

    def records() -> Iterator[Record]:
        for index in range(40):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            data = io.BytesIO()
            Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(data, "PNG")
            fields = {"label": CLASSES[index % 3], "number": str(index)}
            yield Record(data=data.getvalue(), length=1, name=f"{index}.png", fields=fields)

    write_store(folder, "images", "images", records())


def methods(store: str) -> dict[str, Experiment]:
    """Every method, on images of 16 pixels, with an optimizer that does not enlarge rounding errors as Adam does."""
    two = MultiViewAugmentation.simsiam(blur=0.0)
    mlp = MLP(hidden=12, out=8)
    swav = PrototypeHead(layers=2, hidden=12, bottleneck=6, prototypes=7, norm="batch", activation="relu")

    def compose(name: str, augmentation: object = two, **parts: object) -> Experiment:
        training = Training(
            steps=STEPS,
            batch=BatchSize.samples(10),  # 3, 3, 2 and 2 on four processes
            optimizer=SGD(learning_rate=0.05, weight_decay=0.01),
            schedule=Constant(),
            precision="float32",
            num_workers=0,
            log_every=1,
            checkpoint_every=3,
            nonfinite="skip",
        )
        fields = {
            "source": Images(store=store, size=16, augmentation=augmentation),
            "encoder": Patches(width=16, patch=2, class_token=False),
            "backbone": Projected(backbone=BLOCKS, projector=mlp),
        }
        changes = {key: parts.pop(key) for key in list(parts) if key.startswith("training.")}
        return Experiment(name=name, training=training, **fields | parts).evolve(**changes)

    flow = StudentProjections(gradient="flow")
    simclr = compose("simclr", targets=flow, objective=InfoNCE(candidates="views", temperature=0.1))
    pairs = CaptionedImages(
        images=Images(store=store, size=16, augmentation=RandomCrop()),
        captions=("{label} {number}", "a {label}, number {number}"),  # of different lengths, so some are padded
    )
    plain = Projected(backbone=BLOCKS, projector=MLP(layers=1, out=8, norm="none"))
    found = (
        simclr,
        compose(
            "moco-v2",
            targets=TeacherProjections(teacher=TEACHER, symmetric=False),
            objective=InfoNCE(candidates=24),
            backbone=Projected(backbone=BLOCKS, projector=mlp.evolve(norm="none")),
        ),
        compose(
            "moco-v3",
            targets=TeacherProjections(teacher=TEACHER),
            objective=InfoNCE(predictor=mlp, scale=0.4),
        ),
        compose(
            "swav",
            MultiViewAugmentation.dino(local_views=1, local_size=8, blur=0.0),
            targets=SinkhornTargets(),
            objective=PrototypeCrossEntropy(),
            backbone=Projected(backbone=BLOCKS, projector=swav),
            **{"training.parameter_groups": (ParameterGroup(parameters=PROTOTYPES, frozen_steps=2),)},
        ),
        compose(
            "lejepa",
            MultiViewAugmentation.dino(local_views=1, local_size=8, blur=0.0),
            targets=flow,
            objective=SIGReg(directions=16),
        ),
        compose(
            "clip",
            source=pairs,
            encoder=(Patches(width=16, patch=4), TokenEmbeddings(width=16, max_tokens=76, dropout=0.0)),
            backbone=(plain, plain),
            targets=flow,
            objective=InfoNCE(temperature=0.07, learn_temperature=True),
        ),
        compose(
            "i-jepa",
            RandomCrop(),
            masker=MultiBlockMasker(),
            backbone=BLOCKS,
            targets=TopKTargets(k=1, feature="block", normalize="layer", teacher=TEACHER),
            objective=LatentRegression(head=BlockPredictor(width=16, backbone=BLOCKS), beta=1.0, scale="1/width"),
        ),
        compose(
            "supervised",
            RandomCrop(),
            backbone=BLOCKS,
            targets=Labels(classes=CLASSES),
            objective=Classification(),
        ),
        compose(
            "byol",
            targets=TeacherProjections(teacher=TEACHER),
            objective=NegativeCosineSimilarity(hidden=12),
            **{"training.optimizer": LARS(learning_rate=0.2)},
        ),
        compose(
            "dino",
            targets=PrototypeTargets(teacher=TEACHER, warmup_steps=3),
            objective=PrototypeCrossEntropy(),
            backbone=Projected(backbone=BLOCKS, projector=PrototypeHead(hidden=12, bottleneck=6, prototypes=20)),
            **{
                "training.weight_decay_schedule": Cosine(initial=0.1, final=1.0),
                "training.parameter_groups": (ParameterGroup(parameters=PROTOTYPES, frozen_steps=2),),
            },
        ),
        simclr.evolve(**{"name": "simclr-fsdp", "training.strategy": "fsdp"}),
    )
    return {each.name: each for each in found}


NAMES = tuple(methods("none"))


@contextlib.contextmanager
def spoilt() -> Iterator[None]:
    """Inside the ``with``, one image is not finite whenever it is in a batch."""
    original = Images.finish

    def finish(self: Images, batch: Batch) -> Batch:
        batch = original(self, batch)
        bad = (batch.ids == BAD).reshape(-1, 1, 1, 1)
        views = (attrs.evolve(view, content=view.content.masked_fill(bad, math.nan)) for view in batch.views)
        return attrs.evolve(batch, views=tuple(views))

    Images.finish = finish
    try:
        yield
    finally:
        Images.finish = original


def run_all(store: str, folder: Path) -> None:
    """Runs every method, and resumes a copy of each run that was killed before its last checkpoint."""
    with joined() as world, spoilt():
        for name, experiment in methods(store).items():
            run.start(experiment, folder / name, device="cpu")
            killed = folder / f"{name}-killed"
            with world.main_first():
                if world.main:
                    shutil.copytree(folder / name, killed)
                    shutil.rmtree(max((killed / "checkpoints").glob("step-*")))
            run.resume(killed, device="cpu")


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from methods_of_test import run_all
run_all(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    """The folder of the runs on each number of processes."""
    folder = tmp_path_factory.mktemp("methods")
    write_images(folder / "store")
    shutil.copy(__file__, folder / "methods_of_test.py")
    (folder / "all.py").write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = {processes: folder / str(processes) for processes in (1, 2, 4)}
    for processes, out in found.items():
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *start, "all.py", str(folder / "store"), str(out)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stderr
    return found


def curve(folder: Path) -> list[dict[str, float]]:
    """The metrics of each step that follow from the seed; a step that is left out has no finite loss."""
    return [
        {name: -1.0 if math.isnan(value) else value for name, value in line.items() if not name.startswith(UNSEEDED)}
        for line in read_metrics(folder)
    ]


def state(folder: Path) -> dict[str, torch.Tensor]:
    newest, _ = newest_whole(folder / "checkpoints")
    assert newest is not None
    assert newest.step == STEPS
    return {
        f"{part}/{name}": value for part in ("learner", OPTIMIZER) for name, value in read_tensors(newest, part).items()
    }


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("methods")]  # each run is made once for all


@pytest.mark.parametrize("name", NAMES)
def test_two_and_four_processes_take_the_curve_of_one(folders, name):
    alone = curve(folders[1] / name)
    assert len(alone) == STEPS
    assert alone[-1]["train/skipped_steps"] >= 1, "a step was left out"
    for processes in (2, 4):
        together = curve(folders[processes] / name)
        for one, other in zip(alone, together, strict=True):
            assert one.keys() == other.keys()
            assert other == pytest.approx(one, rel=2e-4, abs=1e-5), f"step {one['step']} on {processes} processes"
        mine, theirs = state(folders[1] / name), state(folders[processes] / name)
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            torch.testing.assert_close(
                theirs[key], value, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key} {text}"
            )


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_killed_goes_on_to_the_bit(folders, name, processes):
    whole, killed = folders[processes] / name, folders[processes] / f"{name}-killed"
    assert curve(killed) == curve(whole)
    mine, theirs = state(killed), state(whole)
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []


def test_a_queue_holds_the_targets_of_the_steps_that_were_taken_alone(folders):
    learned = state(folders[4] / "moco-v2")
    taken = STEPS - int(curve(folders[4] / "moco-v2")[-1]["train/skipped_steps"])
    assert int(learned["learner/objective.pointer"]) == taken * 10 % 24
    assert learned["learner/objective.queue"].isfinite().all()
