"""The loop around the step: one or many processes, and what goes wrong in them."""
