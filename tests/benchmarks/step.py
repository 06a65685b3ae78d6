"""A whole training step of didact beside one assembled from the modules of transformers, or beside one of an earlier
didact, taking turns.

    python tests/benchmarks/step.py --modality images
    python tests/benchmarks/step.py --modality speech --precision float32 --rounds 10
    python tests/benchmarks/step.py --modality text --series length=128,256,512
    python tests/benchmarks/step.py --modality text --before v0.1.0

Each contestant lives in a process of its own, which computes only while it is asked to. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODALITIES = {"images": 4, "speech": 2, "text": 2}  # and how many samples make a small batch of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modality", choices=MODALITIES, default="images")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto", help="of didact")
    parser.add_argument("--teacher", choices=["copied", "sharing"], default="copied", help="of transformers; README")
    parser.add_argument("--batch", type=int, help="samples of a step")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each; the first is not counted")
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=0, help="of each; 0: as many as torch takes")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu with --threads 1: README")
    parser.add_argument("--length", type=int, help="of a sample: pixels of a side, seconds or tokens; didact alone")
    parser.add_argument("--depth", type=int, help="blocks; didact alone")
    parser.add_argument("--processes", type=int, default=1, help="that train together, a batch each; didact alone")
    parser.add_argument("--parallel", choices=["ddp", "fsdp"], default="ddp", help="of several processes; README")
    parser.add_argument(
        "--series",
        metavar="WHAT=SIZES",
        help="batch, length, depth or processes, such as batch=1,2,4,8: what didact's step costs",
    )
    parser.add_argument("--before", metavar="REVISION", help="an earlier didact in the place of transformers")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        import contestant  # here, so that the referee's own memory stays out of its children's records

        contestant.serve(arguments)
    elif arguments.series:
        series(arguments)
    elif arguments.before:
        with checkout(arguments.before) as tree:
            ours, theirs = Contestant("didact", arguments), Contestant("didact", arguments, tree)
            duel({"didact": ours, arguments.before: theirs}, arguments)
    else:
        duel({name: Contestant(name, arguments) for name in ("didact", "transformers")}, arguments)


def duel(contestants: dict[str, Contestant], arguments: argparse.Namespace) -> None:
    """Two contestants in turn; the median of the rounds' ratios, so that a busy machine disturbs both alike."""
    batch = arguments.batch or MODALITIES[arguments.modality]
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(arguments.rounds + 1):
        for name, contestant in contestants.items():
            taken = contestant.ask(batch=batch, steps=arguments.steps)["seconds"]
            if turn:
                seconds[name].append(taken)
        if turn:
            latest = ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items())
            print(f"round {turn}: {latest}", file=sys.stderr, flush=True)
    print(f"{arguments.modality}, {batch} samples a step, {arguments.rounds} rounds of {arguments.steps}")
    print(f"{'':14}{'median s/step':>14}{'fastest':>10}{'samples/s':>11}{'peak memory':>14}")
    for name, contestant in contestants.items():
        answer = contestant.ask(batch=batch, steps=0)
        middle, least = statistics.median(seconds[name]), min(seconds[name])
        memory = f"{answer['peak_mib']:.0f} MiB"
        print(f"{name:14}{middle:14.3f}{least:10.3f}{batch / middle:11.2f}{memory:>14}  {answer['setting']}")
        contestant.close()
    fastest = [min(taken) for taken in seconds.values()]
    ratios = sorted(theirs / ours for ours, theirs in zip(*seconds.values(), strict=True))
    print(
        f"didact is {statistics.median(ratios):.2f} times as fast (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f}; "
        f"fastest against fastest: {fastest[1] / fastest[0]:.2f})"
    )


def series(arguments: argparse.Namespace) -> None:
    """What a step costs at several sizes, each in a process of its own, and the line through the fastest of each."""
    what, _, listed = arguments.series.partition("=")
    sizes = [int(size) for size in listed.split(",")]
    batch = arguments.batch or MODALITIES[arguments.modality]
    batches = {size: size if what == "batch" else batch for size in sizes}
    changed = {size: {} if what == "batch" else {what: size} for size in sizes}
    contestants = {size: Contestant("didact", argparse.Namespace(**vars(arguments) | changed[size])) for size in sizes}
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(arguments.rounds + 1):
        for size, contestant in contestants.items():
            answer = contestant.ask(batch=batches[size], steps=arguments.steps)
            if turn:
                seconds[size].append(answer["seconds"])
    fastest = [min(seconds[size]) for size in sizes]
    slope, intercept = statistics.linear_regression(sizes, fastest)
    print(f"{arguments.modality}, a step by {what}: {intercept:.3f} s + {slope:.4f} s for each")
    for size, taken in zip(sizes, fastest, strict=True):
        peak = contestants[size].ask(batch=batches[size], steps=0)["peak_mib"]
        contestants[size].close()
        off = taken / (intercept + slope * size) - 1
        print(f"{what} {size:4}: {taken:.3f} s a step, {off:+.1%} off the line, {peak:.0f} MiB")


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """The tree of a revision that has this benchmark, with an environment of its own; gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), revision], cwd=HERE, check=True)
        try:
            subprocess.run(["uv", "sync", "--quiet"], cwd=tree, check=True)
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=HERE, check=True)


class Contestant:
    """A process, or several that train together, taking steps when asked to; of another tree where one is given."""

    def __init__(self, name: str, arguments: argparse.Namespace, tree: Path | None = None) -> None:
        python = sys.executable if tree is None else str(tree / ".venv" / "bin" / "python")
        file = HERE if tree is None else tree / HERE.relative_to(HERE.parents[1])
        command = [python, str(file / "step.py"), "--contestant", name]
        options = ["modality", "precision", "teacher", "threads", "clock", "length", "depth"]
        options += ["parallel"] if arguments.processes > 1 else []
        for option in options:
            if getattr(arguments, option) is not None:  # an earlier didact may not know it
                command += [f"--{option}", str(getattr(arguments, option))]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for environment in ranks(arguments.processes)
        ]

    def ask(self, batch: int, steps: int) -> dict[str, Any]:
        """Seconds for each of ``steps`` steps on ``batch`` samples, and the peak memory so far; the worst process's."""
        for process in self.processes:
            assert process.stdin is not None
            print(json.dumps({"batch": batch, "steps": steps}), file=process.stdin, flush=True)
        answers = []
        for process in self.processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                for other in self.processes:  # they would wait for the one that ended
                    other.terminate()
                raise SystemExit(process.wait() or 1)
            answers.append(json.loads(line))
        return {name: max(answer[name] for answer in answers) for name in answers[0]}

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait()


def ranks(processes: int) -> list[dict[str, str]]:
    """The environment of each of so many processes, as torchrun would make it."""
    if processes == 1:
        return [dict(os.environ)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


if __name__ == "__main__":
    main()
