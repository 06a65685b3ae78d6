"""What every teacher promises."""

from __future__ import annotations

import copy

import torch

from didact.contracts import Teacher
from didact.learner import Network
from didact.tensors import Batch, Collect
from didact.testing.closeness import assert_close
from didact.testing.tiny import TinyMasker, tiny_batch, tiny_network


def check_teacher(teacher: Teacher, network: Network | None = None, batch: Batch | None = None) -> None:
    """Builds a teacher beside a network, lets it see a batch, and lets the network move away.

    Args:
        teacher: to check.
        network: the student; tiny by default.
        batch: with masks, that the network can read; tiny by default.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    network = network if network is not None else tiny_network()
    batch = batch if batch is not None else tiny_batch(masker=TinyMasker())
    network = copy.deepcopy(network)
    module = teacher.build(network)
    module.train()
    training = [name for name, child in module.named_modules() if child.training]
    assert not training, f"a teacher is always in evaluation mode, but {training[:3]} train"
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert not trained, f"nothing of a teacher takes a gradient, but {trained[:3]} do"
    mine = {id(parameter) for parameter in network.parameters()}
    theirs = {id(parameter) for parameter in module.parameters()}
    assert not mine & theirs, "a teacher holds no weight of the student's: what it shares it is handed in `forward`"

    student = network(batch.views[0])
    context = module(student, network, Collect(feature="ffn", last=1))
    positions = batch.views[0].layout.positions
    rows = batch.ids.shape[0]
    assert context.output.shape[0] == rows, f"a teacher sees each sample once: (B={rows}, …), whatever M"
    assert context.positions_only(context.output).shape[1] == positions, "a teacher sees every position"
    assert len(context.features) == 1, "features come as they are asked for"
    assert not context.output.requires_grad, "no gradient flows through a teacher"

    subject = module.subject(network)
    assert isinstance(subject, Network), "subject is a network that can be judged"
    with torch.no_grad():
        seen = subject.eval().contextualize(student.tokens, None)
    assert_close(context.output, seen.output, "subject sees what the teacher sees")
    network.train()

    before = {name: value.clone() for name, value in module.state_dict().items()}
    _move(network)
    assert_states(module.state_dict(), before, "a teacher stands still until after_step")
    scalars = module.after_step(network, 1)
    assert all(isinstance(value, float) for value in scalars.values()), "after_step logs numbers"
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype, f"{name} keeps its type"
        if value.is_floating_point():
            assert bool(value.isfinite().all()), f"{name} stays finite"


def assert_states(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], promise: str) -> None:
    """Raises an `AssertionError` where two states, ``name → tensor of any shape ()``, differ."""
    for name, value in state.items():
        assert torch.equal(value, expected[name]), f"{promise}: {name} changed"


@torch.no_grad()
def _move(network: Network) -> None:
    for parameter in network.parameters():
        parameter.add_(0.1)
