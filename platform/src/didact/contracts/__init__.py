"""The contracts between the parts of an experiment."""
