"""What a study costs beyond the training of its runs: many short runs side by side, tracked in Aim.

    python tests/benchmarks/study.py
    python tests/benchmarks/study.py --runs 20 --steps 400 --jobs 4

Prints the study's last words, among them the share of its time that was training. See README.md.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from didact_stores import Record
from didact_stores.ingest.writing import write_store

STUDY = '''
"""Images of noise: how many layers to average?"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_ablate import Ablation
from didact_aim import Aim
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_evaluate import RepresentationMetrics
from didact_transformer import Transformer
from didact_vision import BlockMasker, Images, Patches

noise = Images(store="noise", size=16)

study = Ablation(
    name="many",
    base=Experiment(
        name="short",
        source=noise,
        encoder=Patches(width=32, patch=4, mask_token=True),
        masker=BlockMasker(ratio=0.5, min_area=2),
        backbone=Transformer(width=32, depth=4, heads=2),
        targets=TopKTargets(k=2, teacher=EMATeacher(start=0.9, end=0.99, anneal_steps={steps})),
        objective=LatentRegression(),
        training=Training(
            steps={steps}, batch=BatchSize.samples(8), optimizer=AdamW(learning_rate=1e-3),
            schedule=Cosine(warmup_steps=10), checkpoint_every=500
        ),
        evaluations={{"health": RepresentationMetrics(samples=16)}},
        observers=(Aim(),),
    ),
    vary={{"targets.k": (1, 2, 3, 4)}},
    seeds=tuple(range({seeds})),
    metric="health/student_rank",
)
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="of all four variants together")
    parser.add_argument("--steps", type=int, default=1000, help="of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_store(folder / "noise", "images", "images", images(64))
        (folder / "study.py").write_text(STUDY.format(steps=arguments.steps, seeds=arguments.runs // 4))
        commands = {
            "the study": ["run", "study.py:study", "--jobs", str(arguments.jobs)],
            "its comparison": ["compare", "many"],
            "a comparison of what Aim finds": ["compare", "aim:run.study == 'many'", "--metric", "health/student_rank"],
        }
        for what, command in commands.items():
            begun = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "didact", *command],
                cwd=folder,
                env=os.environ | {"DIDACT_STORES": place},
                stdout=subprocess.PIPE,
                text=True,
            )
            said = done.stdout
            if done.returncode:
                raise SystemExit(said)
            print(f"{what}: {time.perf_counter() - begun:.1f} s, from start to end of its process")
            print(*(f"  {line}\n" for line in said.splitlines() if "of it training" in line), sep="", end="")


def images(count: int) -> Iterator[Record]:
    """Images of noise, as PNG files are."""
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        yield Record(data=data.getvalue(), length=1, name=f"{index}.png")


if __name__ == "__main__":
    main()
