"""Checks of the contracts, free for third parties to run over parts of their own.

Each ``check_…`` takes a part and raises `AssertionError` with what the contract says and what was seen::

    from didact.testing import check_masker

    def test_my_masker_keeps_the_contract():
        check_masker(MyMasker(share=0.5), layouts=[Layout((20,)), Layout((4, 5))])

The ``Tiny…`` parts are the smallest that keep the contract: what stands beside the part under test.
"""

from didact.testing.backbones import check_backbone
from didact.testing.encoders import check_encoder
from didact.testing.evaluations import check_evaluation
from didact.testing.maskers import check_masker
from didact.testing.media import check_medium
from didact.testing.objectives import check_objective
from didact.testing.observers import check_observer
from didact.testing.sources import check_source
from didact.testing.specs import check_examination, check_spec
from didact.testing.targets import check_target_builder
from didact.testing.teachers import check_teacher
from didact.testing.tiny import (
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinySource,
    tiny_batch,
    tiny_network,
    tiny_preflight,
)

__all__ = [
    "TinyBackbone",
    "TinyEncoder",
    "TinyMasker",
    "TinySource",
    "check_backbone",
    "check_encoder",
    "check_evaluation",
    "check_examination",
    "check_masker",
    "check_medium",
    "check_objective",
    "check_observer",
    "check_source",
    "check_spec",
    "check_target_builder",
    "check_teacher",
    "tiny_batch",
    "tiny_network",
    "tiny_preflight",
]
