"""Aim tracking for didact runs."""
