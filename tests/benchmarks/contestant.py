"""The process of one contestant: it builds the contestant's step and runs the requested number of steps."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable

import torch
from workload import Workload, load

from didact import Experiment
from didact.machine.distributed import connected, joined


def serve(arguments: argparse.Namespace) -> None:
    """Answers every line on standard input, a batch size and a number of steps, with the seconds of a step.

    Where there are several processes, all are asked the same.
    """
    with joined():
        _serve(arguments)


def _serve(arguments: argparse.Namespace) -> None:
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    experiment = load(arguments.modality, arguments.length, arguments.depth)
    torch.manual_seed(0)
    take_step, setting = CONTESTANTS[arguments.contestant](experiment, arguments)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    workloads: dict[int, Workload] = {}
    for line in sys.stdin:
        request = json.loads(line)
        workload = workloads.setdefault(request["batch"], Workload.draw(experiment, request["batch"]))
        started = clock()
        for _ in range(request["steps"]):
            take_step(workload)
        seconds = (clock() - started) / max(1, request["steps"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux gives KiB
        print(json.dumps({"seconds": seconds, "peak_mib": peak, "setting": setting}), flush=True)


def didact(experiment: Experiment, arguments: argparse.Namespace) -> tuple[Callable[[Workload], object], str]:
    """The trainer's own step, with all that it does besides: the norm of the gradient, the collapse measures."""
    from didact import build_learner
    from didact.loop.trainer import Trainer

    changes = {"training.precision": arguments.precision, "training.strategy": arguments.parallel}
    experiment = experiment.evolve(**changes)
    trainer = Trainer(experiment, build_learner(experiment), torch.device("cpu"), connected())
    return lambda workload: trainer.take_step(workload.step_batch), str(trainer.precision).removeprefix("torch.")


def transformers(experiment: Experiment, arguments: argparse.Namespace) -> tuple[Callable[[Workload], object], str]:
    """The step of `assembled`."""
    from assembled import STEPS

    shares_encoder = arguments.teacher == "sharing"
    return STEPS[arguments.modality](experiment, shares_encoder=shares_encoder), f"float32, teacher {arguments.teacher}"


CONTESTANTS = {"didact": didact, "transformers": transformers}
