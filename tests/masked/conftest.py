"""The wav2vec 2.0 model of transformers with the codebooks of didact's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from didact import TargetBuilderModule


@pytest.fixture(autouse=True, scope="module")
def _tiny(tiny_everywhere) -> None:
    """Runs on the kit's tiny parts can be opened and resumed."""


@pytest.fixture
def theirs_like() -> Callable[..., Wav2Vec2ForPreTraining]:
    """Makes transformers' objective with a quantiser's weights; its network is as small as it gets, and left out."""

    def make(module: TargetBuilderModule, **changes: Any) -> Wav2Vec2ForPreTraining:
        groups, codes, _ = module.codebooks.shape
        config = Wav2Vec2Config(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            conv_dim=(4, 3),
            conv_stride=(5, 2),
            conv_kernel=(10, 3),
            num_feat_extract_layers=2,
            num_conv_pos_embedding_groups=2,
            codevector_dim=module.width,
            proj_codevector_dim=module.width,
            num_codevector_groups=groups,
            num_codevectors_per_group=codes,
            **changes,
        )
        theirs = Wav2Vec2ForPreTraining(config)
        theirs.quantizer.weight_proj.load_state_dict(module.logits.state_dict())
        theirs.project_q.load_state_dict(module.projection.state_dict())
        theirs.quantizer.codevectors.data = module.codebooks.detach().reshape(1, groups * codes, -1).clone()
        return theirs

    return make
