"""The training loop: steps on one or many processes, evaluation, and the handling of failed steps."""
