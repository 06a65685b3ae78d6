"""Everything registered has an example, so no contract passes by looking at nothing."""

from __future__ import annotations


def test_every_registered_component_has_an_example(examples):
    known, _, registered, hooks = examples
    missing = [name for hook in hooks.values() for name in registered(hook) if not known.get(name)]
    assert missing == [], "add a small one to tests/contracts/conftest.py"


def test_every_encoder_has_a_signal_to_read(examples):
    _, signals, registered, hooks = examples
    assert set(registered(hooks["encoder"])) <= set(signals)
