"""The loop around the step: one or many processes, and what happens when a step goes wrong."""
