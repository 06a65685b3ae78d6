"""Aim tracking for didact runs."""

from didact_aim.observer import Aim

__all__ = ["Aim"]
