"""The plugin of didact-evaluate: its registrations."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "representation-metrics": "didact_evaluate.representation_metrics:RepresentationMetrics",
        "visualizations": "didact_evaluate.visualizations:Visualizations",
        "probe": "didact_evaluate.probe:Probe",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_evaluate.examples:examples"
