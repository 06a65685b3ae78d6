"""A spec's own findings must have a hint and name a field of it."""

from __future__ import annotations

import attrs
import pytest

from didact import Constant, Cosine
from didact.preflight import Finding
from didact_kit import check_spec


def test_a_finding_needs_a_hint_and_one_of_the_specs_fields():
    @attrs.frozen(kw_only=True)
    class Careless(Constant):
        """Warns without a hint."""

        def examine(self, preflight):
            yield Finding(severity="warning", says="something is odd")

    @attrs.frozen(kw_only=True)
    class Elsewhere(Constant):
        """Names a field of another spec."""

        def examine(self, preflight):
            yield Finding.fine("everything is fine", where="masker.length")

    with pytest.raises(AssertionError, match="something is odd"):
        check_spec(Careless())
    with pytest.raises(AssertionError, match=r"masker\.length"):
        check_spec(Elsewhere())
    check_spec(Cosine())
