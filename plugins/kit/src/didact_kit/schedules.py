"""The rule that every schedule must follow."""

from __future__ import annotations

import math

from didact.errors import DidactError
from didact_kit.closeness import untouched_randomness
from didact_kit.doubles import data_of, restored
from didact_kit.examples import Case
from didact_kit.rules import NotJudged

LENGTHS = (1, 2, 10, 1_000, 400_000)  # of runs, in steps
ALL = 1_000  # steps of the longest run of which every step is asked for
SHARES = (0.0, 0.003, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0)  # of a run's steps


def check_factors(case: Case) -> None:
    """Checks that factors are numbers from 0 to 1 that follow from the step and the number of steps alone.

    Steps are asked for from the first to the last, and then, of a restored spec, from the last to the first.
    """
    refused: DidactError | None = None
    seen = 0
    for steps in LENGTHS:
        some = {min(int(share * steps) + more, steps - 1) for share in SHARES for more in (0, 1)}
        chosen = range(steps) if steps <= ALL else sorted(some)
        try:
            with untouched_randomness("at"):
                factors = {step: case.spec.at(step, steps) for step in chosen}
        except DidactError as error:  # a run that is too short for it
            refused = error
            continue
        except ArithmeticError as error:
            raise AssertionError(f"a run of {steps} steps fails: {type(error).__name__}: {error}") from error
        seen += 1
        for step, factor in factors.items():
            where = f"at({step}, {steps})"
            number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
            assert number, f"{where} must be a float, got {factor!r}"
            assert math.isfinite(factor), f"{where} is {factor}"
            assert 0 <= factor <= 1, f"{where} is {factor}, which is no share of the peak"
        assert any(factors.values()), f"every factor of a run of {steps} steps is 0"
        other = restored(data_of(case.spec), type(case.spec))
        for step in reversed(chosen):
            again = other.at(step, steps)
            assert again == factors[step], f"at({step}, {steps}) is {factors[step]}, and then {again}"
    if not seen:
        raise NotJudged(f"it refuses runs of {LENGTHS[0]} to {LENGTHS[-1]} steps: {refused}")
