"""What every teacher promises. It is tried inside `TinyTargets`, with the experiment's network as its student."""

from __future__ import annotations

import torch

from didact.contracts import TeacherModule
from didact.learner import Network
from didact.randomness import seeded
from didact.tensors import Collect
from didact.testing.closeness import assert_close, assert_finite, assert_states, persistent
from didact.testing.examples import SEED, Case


def check_gradients(case: Case) -> None:
    """A teacher is in evaluation mode whatever happens, holds weights of its own, and gives nothing a gradient."""
    network = case.network()
    module = _module(case, network)
    module.train()
    training = [name for name, child in module.named_modules() if child.training]
    assert not training, f"after train(), {training[:3]} are in training mode"
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert not trained, f"{trained[:3]} take a gradient"
    mine = {id(parameter): name for name, parameter in module.named_parameters()}
    shared = [mine[id(parameter)] for parameter in network.parameters() if id(parameter) in mine]
    assert not shared, f"{shared[:3]} are the student's own weights"
    context = module(network(case.batch().views[0]), network, Collect(feature="ffn", last=1))
    carrying = [x for x in (context.output, *context.features) if x.requires_grad]
    assert not carrying, "what the teacher gives carries a gradient"


@torch.no_grad()
def check_view(case: Case) -> None:
    """A teacher sees each sample once, whole, whatever the masks; and its subject sees what it sees."""
    network = case.network()
    module = _module(case, network)
    batch = case.batch()
    view = batch.views[0]
    student = network(view)
    context = module(student, network, Collect(feature="ffn", last=1))
    rows, samples = context.output.shape[0], batch.ids.shape[0]
    assert rows == samples, f"its output has {rows} rows for {samples} samples"
    held = context.positions_only(context.output).shape[1]
    assert held == view.layout.positions, f"it sees {held} of {view.layout.positions} positions"
    assert len(context.features) == 1, f"asked for one feature, it gave {len(context.features)}"
    assert_finite(context.output, "its output")
    subject = module.subject(network)
    assert isinstance(subject, Network), f"subject is a network that can be judged, got {type(subject).__name__}"
    seen = subject.eval().contextualize(student.tokens, None)
    assert_close(context.output, seen.output, "the teacher's output and that of its subject")


@torch.no_grad()
def check_steps(case: Case) -> None:
    """A teacher stands still until ``after_step``, which logs numbers and keeps types."""
    network = case.network()
    module = _module(case, network)
    before = {name: value.clone() for name, value in persistent(module).items()}
    student = network(case.batch().views[0])
    for parameter in network.parameters():
        parameter.add_(0.1)
    module(student, network, None)
    assert_states(persistent(module), before, "the student moved, or forward ran, and the teacher with it")
    scalars = module.after_step(network, 1, 10)
    wrong = {name: value for name, value in scalars.items() if not isinstance(value, float)}
    assert not wrong, f"after_step logs numbers, got {wrong}"
    for name, value in persistent(module).items():
        assert value.dtype == before[name].dtype, f"{name} was {before[name].dtype} and is {value.dtype}"
        if value.is_floating_point():
            assert_finite(value, name)


def _module(case: Case, network: Network) -> TeacherModule:
    with seeded(SEED, "check", "teacher"):
        module: TeacherModule = case.spec.build(network)
    return module
