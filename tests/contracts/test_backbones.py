"""`Backbone`."""

from didact.testing import check_backbone


def test_every_backbone_keeps_the_contract(backbone, backbone_layouts):
    positions = type(getattr(backbone.spec, "positions", None)).__name__
    for layout, extra in backbone_layouts(backbone.name):
        # BEiT's bias is one over a grid, ALiBi one over a sequence
        if (positions, len(layout.shape)) not in (("BEiTBias", 1), ("ALiBi", 2)):
            check_backbone(backbone.spec, 16, layout, extra)
