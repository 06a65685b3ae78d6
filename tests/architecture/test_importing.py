"""Importing has no effect: no logging, no seeding, no flags, no warnings, no threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import importlib, logging, os, pickle, random, signal, sys, threading, warnings
import numpy as np, torch
import rich.style  # draws from Python's generator when it is imported, which is not our doing

def state():
    return {
        "logging handlers": len(logging.getLogger().handlers),
        "logging level": logging.getLogger().level,
        "python's generator": hash(random.getstate()),
        "numpy's generator": hash(pickle.dumps(np.random.get_state())),
        "torch's generator": hash(torch.get_rng_state().numpy().tobytes()),
        "default dtype": str(torch.get_default_dtype()),
        "threads of torch": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "gradients": torch.is_grad_enabled(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "environment": sorted(os.environ.items()),
        "excepthook": sys.excepthook is sys.__excepthook__,
        "SIGTERM": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }

before = state()
for module in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        importlib.import_module(module)
    after = state()
    changed = [name for name in before if before[name] != after[name]]
    ours = [str(w.message) for w in caught if "didact" in w.filename]
    if changed or ours:
        print(module, "changed", changed, "warned", ours)
    before = after
print("done")
"""

# packages that take as long to import as all that is ours, or longer; a run needs PyTorch's sharded tensors (sympy) and
# its compiler, which every optimizer imports
SLOW = {
    *("aim", "lightning", "matplotlib", "scipy", "sklearn", "timm", "torchvision", "transformers"),
    *("sympy", "torch._dynamo", "torch.distributed.tensor"),
}

COMMAND = """
import sys
from click.testing import CliRunner
from didact.cli import cli
words, slow = sys.argv[1].split(), sys.argv[2].split()
done = CliRunner().invoke(cli, words)
print(done.exit_code, *[name for name in slow if name in sys.modules])
"""


def test_importing_any_distribution_changes_nothing(tree):
    modules = [name for d in tree.all for name in (d.package, f"{d.package}.plugin")][:1]
    modules += [name for d in tree.plugins for name in (d.package, f"{d.package}.plugin")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *modules], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done", done.stdout


@pytest.mark.parametrize("words", ["--help", "run --help", "plugins", "plugin show vision/patches"])
def test_a_command_imports_nothing_slow_that_it_does_not_need(words):
    """Registering brings a plugin's specs, not what its modules compute with: that is imported where it is used."""
    # what shows where a component may stand imports all specs, a study's too, which runs experiments
    needed = {"sympy", "torch.distributed.tensor"} if "show" in words else set()
    command = [sys.executable, "-c", COMMAND, words, " ".join(sorted(SLOW - needed))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "0", done.stdout + done.stderr


def test_the_command_line_says_its_version():
    script = (
        "import sys, didact.cli\n"
        "from click.testing import CliRunner\n"
        "out = CliRunner().invoke(didact.cli.cli, ['--version'])\n"
        "print(out.output.strip())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("didact "), done.stderr
