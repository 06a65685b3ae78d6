"""Examines the settings that depend on a run's length: the core's schedules, and the intervals in `Training`."""

from __future__ import annotations

from collections.abc import Iterator

from didact import Schedule, Spec, Training
from didact.preflight import Finding, Preflight

LONGEST_WARMUP = 0.5  # share of the run's steps; published runs warm up for 1 to 10 % of their steps
LONGEST_WITHOUT_CHECKPOINT = 10_000  # steps


def examine_duration(spec: Spec, preflight: Preflight, field: str = "") -> Iterator[Finding]:
    """Yields the findings about a spec, in a field of the experiment, that has no ``examine`` of its own."""
    if isinstance(spec, Schedule) and field != "training.weight_decay_schedule":  # which may rise for the whole run
        yield _warmup(spec, preflight.steps)
    if isinstance(spec, Training):
        yield from _intervals(spec, preflight)


def _warmup(schedule: Schedule, steps: int) -> Finding:
    """Checks whether and how late the learning rate reaches its peak."""
    checked = [round(share / 1000 * (steps - 1)) for share in range(1001)]
    factors = [schedule.at(step, steps) for step in checked]
    peak = max(factors)
    first = checked[factors.index(peak)]
    if peak >= 0.99 and first <= LONGEST_WARMUP * steps:
        return Finding.fine(f"the learning rate reaches its peak at about step {first + 1:,} of {steps:,}")
    field, hint = "", "a shorter warm-up: published runs warm up for 1 to 10 % of their steps"
    if hasattr(schedule, "warmup_steps"):
        field, hint = "warmup_steps", f"warmup_steps={steps // 10}, a tenth of the run"
    elif hasattr(schedule, "warmup"):
        field, hint = "warmup", "data2vec warms up for 0.03 of the run"
    if peak < 0.99:
        says = f"the learning rate never reaches its peak: it rises to {peak:.0%} of it in {steps:,} steps"
    else:
        says = f"the learning rate rises for {first / steps:.0%} of the run, to about step {first + 1:,} of {steps:,}"
    return Finding.warning(says, where=field, hint=hint)


def _intervals(training: Training, preflight: Preflight) -> Iterator[Finding]:
    """Checks whether groups train, checkpoints and evaluations happen, and each part of a batch has samples."""
    steps, fewest = training.steps, int(preflight.samples_per_step.min())
    for number, group in enumerate(training.parameter_groups):
        if group.frozen_steps is not None and group.frozen_steps >= steps:
            yield Finding.warning(
                f"{group.parameters} is never trained: it is frozen for {group.frozen_steps:,} steps of {steps:,}",
                where=f"parameter_groups.{number}.frozen_steps",
                hint=f"frozen_steps={max(1, steps // 100)}, or None, which saves memory",
            )
    for field, what in (("checkpoint_every", "checkpoint"), ("evaluate_every", "evaluation")):
        every = getattr(training, field)
        if every is not None and every > steps:
            yield Finding.warning(
                f"the only {what} is the last: one every {every:,} steps in a run of {steps:,}",
                where=field,
                hint=f"{field}={max(1, steps // 10)} for ten of them, or None for the last alone",
            )
    if training.checkpoint_every is None and steps > LONGEST_WITHOUT_CHECKPOINT:
        yield Finding.warning(
            f"a run of {steps:,} steps loses all of them when it is killed: its only checkpoint is the last",
            where="checkpoint_every",
            hint=f"checkpoint_every={steps // 100}",
        )
    if training.gradient_accumulation_steps > fewest:
        yield Finding.warning(
            f"a batch of {fewest:.0f} samples has fewer than {training.gradient_accumulation_steps} parts, so it is "
            f"computed in {fewest:.0f}",
            where="gradient_accumulation_steps",
            hint=f"at most {fewest:.0f}, or a larger batch",
        )
