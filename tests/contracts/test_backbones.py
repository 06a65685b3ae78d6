"""`Backbone`."""

import pytest

from didact import Layout
from didact.testing import check_backbone


@pytest.mark.parametrize(("layout", "extra"), [(Layout((7,)), 0), (Layout((3, 4)), 0), (Layout((3, 4)), 1)])
def test_every_backbone_keeps_the_contract(backbone, layout, extra):
    positions = type(getattr(backbone.spec, "positions", None)).__name__
    if (positions, len(layout.shape)) in (("BEiTBias", 1), ("ALiBi", 2)):
        pytest.skip("BEiT's bias is one over a grid, ALiBi one over a sequence")
    check_backbone(backbone.spec, 16, layout, extra)
