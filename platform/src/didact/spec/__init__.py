"""Specs: what an experiment composes. Frozen, validated values that turn into plain data and back.

A spec is a class decorated with ``@attrs.frozen(kw_only=True)`` that inherits `Spec`. Its fields are checked when it
is made, type first and range second; its docstring's ``Attributes:`` section documents every field, and that text is
what an error tells the user who got the field wrong.
"""

from didact.spec.base import Spec, field_documentation, field_types, type_words
from didact.spec.changes import evolve
from didact.spec.data import TAG, fingerprint, from_data, to_data

__all__ = [
    "TAG",
    "Spec",
    "evolve",
    "field_documentation",
    "field_types",
    "fingerprint",
    "from_data",
    "to_data",
    "type_words",
]
