"""The rules that every teacher must follow, checked in `TinyTargets` with the experiment's network as student."""

from __future__ import annotations

import torch

from didact.contracts.network import Network
from didact.contracts.targets import TeacherModule
from didact.randomness import seeded
from didact.tensors import HiddenState
from didact_kit.closeness import assert_close, assert_finite, assert_states, persistent
from didact_kit.examples import SEED, Case
from didact_kit.state import check_steps as check_repeats


def check_gradients(case: Case) -> None:
    """Checks that a teacher stays in evaluation mode, has its own weights, and gives no gradient."""
    network = case.network()
    module = _module(case, network)
    module.train()
    training = [name for name, child in module.named_modules() if child.training]
    assert not training, f"after train(), {training[:3]} are in training mode"
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert not trained, f"{trained[:3]} require a gradient"
    mine = {id(parameter): name for name, parameter in module.named_parameters()}
    shared = [mine[id(parameter)] for parameter in network.parameters() if id(parameter) in mine]
    assert not shared, f"{shared[:3]} are the student's own weights"
    output = module(network(case.batch().views[0]), network, HiddenState.last("ffn", 1, len(network.backbone.blocks)))
    carrying = [x for x in (output.output, *output.hidden_states) if x.requires_grad]
    assert not carrying, "the teacher's output carries a gradient"


@torch.no_grad()
def check_view(case: Case) -> None:
    """Checks that a teacher processes each unmasked sample once, and that `evaluated_network` gives the same output."""
    network = case.network()
    module = _module(case, network)
    batch = case.batch()
    view = batch.views[0]
    student = network(view)
    output = module(student, network, HiddenState.last("ffn", 1, len(network.backbone.blocks)))
    rows, samples = output.output.shape[0], batch.ids.shape[0]
    assert rows == samples, f"its output has {rows} rows for {samples} samples"
    held = output.positions_only(output.output).shape[1]
    assert held == view.layout.positions, f"its output has {held} of {view.layout.positions} positions"
    assert len(output.hidden_states) == 1, f"it gives {len(output.hidden_states)} hidden states for a request of one"
    assert_finite(output.output, "its output")
    state = module.evaluated_network(network)
    assert isinstance(state, Network), f"evaluated_network must return a Network, got {type(state).__name__}"
    expected = state.eval().contextualize(student.tokens, None)
    assert_close(output.output, expected.output, "the teacher's output and that of its evaluated_network")


@torch.no_grad()
def check_steps(case: Case) -> None:
    """Checks that a teacher does not change before ``after_step``, which returns floats and keeps types."""
    network = case.network()
    module = _module(case, network)
    before = {name: value.clone() for name, value in persistent(module).items()}
    student = network(case.batch().views[0])
    for parameter in network.parameters():
        parameter.add_(0.1)
    module(student, network)
    assert_states(persistent(module), before, "the teacher changed with the student or in forward")
    scalars = module.after_step(network, 1, 10)
    wrong = {name: value for name, value in scalars.items() if not isinstance(value, float)}
    assert not wrong, f"after_step must return floats, got {wrong}"
    for name, value in persistent(module).items():
        assert value.dtype == before[name].dtype, f"after_step made {name} {value.dtype}, from {before[name].dtype}"
        if value.is_floating_point():
            assert_finite(value, name)
    check_repeats(case)


def _module(case: Case, network: Network) -> TeacherModule:
    with seeded(SEED, "check", "teacher"):
        module: TeacherModule = case.spec.build(network)
    return module
