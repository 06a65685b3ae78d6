"""The batches that a trial uses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import BatchSize
from didact.batching import BatchPlan
from didact_doctor.trial import heaviest_steps

lengths = st.lists(st.floats(0.1, 20.0), min_size=1, max_size=60).map(np.array)


@settings(max_examples=50)
@given(lengths, st.floats(20.0, 200.0), st.integers(0, 2**31), st.booleans())
def test_the_heaviest_batches_hold_the_most_and_the_longest(lengths, budget, seed, crops):
    for size in (BatchSize.seconds(budget), BatchSize.samples(4)):
        plan = BatchPlan(lengths, size, seed)
        steps = plan.batches_per_epoch if size.unit == "seconds" else max(1, len(lengths) // 4)
        held = [lengths[plan.batch(step).samples] for step in range(steps)]
        longest = [batch.min() if crops else batch.max() for batch in held]
        content = [len(batch) * length for batch, length in zip(held, longest, strict=True)]
        heaviest = heaviest_steps(plan, lengths, crops=crops)
        assert max(content[step] for step in heaviest) == max(content)
        assert max(longest[step] for step in heaviest) == max(longest)
