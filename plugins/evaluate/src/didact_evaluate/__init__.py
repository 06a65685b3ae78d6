"""Judging representations in didact: probes, controls, health."""
