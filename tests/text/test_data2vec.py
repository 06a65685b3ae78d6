"""data2vec on text at base size, against transformers' implementation and the counts of the reference."""

import torch
from transformers import Data2VecTextConfig, Data2VecTextModel

from didact import HiddenState, Network, Signal, collate
from didact_distill import MLPHead
from didact_text import TokenEmbeddings
from didact_text.bpe import PAD
from didact_transformer import Transformer

TEXT = Signal(kind="tokens", axes=(None,), vocabulary=50_265)


def network(encoder, backbone):
    return Network(encoder.build(TEXT), backbone.build(encoder.width, None), TEXT, None)


def copy(theirs, ours):
    """transformers' weights into ours, as the reference's table maps them."""
    embeddings = theirs.embeddings
    ours.encoder.tokens.weight.copy_(embeddings.word_embeddings.weight)
    ours.encoder.positions.weight.copy_(embeddings.position_embeddings.weight)
    ours.encoder.norm.load_state_dict(embeddings.LayerNorm.state_dict())
    embeddings.token_type_embeddings.weight.zero_()  # what the released model was converted with
    for block, layer in zip(ours.backbone.blocks, theirs.encoder.layer, strict=True):
        attention = layer.attention.self
        for part in ("weight", "bias"):
            rows = [getattr(getattr(attention, name), part) for name in ("query", "key", "value")]
            getattr(block.attention.qkv, part).copy_(torch.cat(rows))
        block.attention.projection.load_state_dict(layer.attention.output.dense.state_dict())
        block.attention_residual.norm.load_state_dict(layer.attention.output.LayerNorm.state_dict())
        block.ffn.inner.load_state_dict(layer.intermediate.dense.state_dict())
        block.ffn.outer.load_state_dict(layer.output.dense.state_dict())
        block.ffn_residual.norm.load_state_dict(layer.output.LayerNorm.state_dict())


@torch.no_grad()
def test_every_layers_feature_equals_that_of_transformers_with_and_without_padding():
    torch.manual_seed(0)
    config = Data2VecTextConfig(
        vocab_size=50_265, max_position_embeddings=514, layer_norm_eps=1e-5, type_vocab_size=1, pad_token_id=PAD
    )
    theirs = Data2VecTextModel(config, add_pooling_layer=False).eval()
    for parameter in theirs.parameters():
        if parameter.ndim == 1:  # norms and biases, which begin at 1 and 0
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = network(TokenEmbeddings(width=768), Transformer()).eval()
    copy(theirs, ours)
    features = []
    for layer in theirs.encoder.layer:
        layer.output.dense.register_forward_hook(lambda module, inputs, output: features.append(output))
    for lengths in ([37, 37], [37, 12]):
        features.clear()
        contents = [torch.randint(4, 50_264, (length,)) for length in lengths]
        view = collate(contents, TokenEmbeddings(width=768))
        data = torch.ones(2, 37, dtype=torch.bool) if view.padding is None else ~view.padding
        output = theirs(view.content.masked_fill(~data, PAD), attention_mask=data.long()).last_hidden_state
        context = ours.contextualize(ours.encoder.embed(view), None, HiddenState.last("ffn", 12, 12))
        assert len(features) == len(context.hidden_states) == 12
        for mine, other in zip(context.hidden_states, features, strict=True):
            torch.testing.assert_close(mine[data], other[data], atol=1e-4, rtol=0)
        torch.testing.assert_close(context.output[data], output[data], atol=1e-4, rtol=0)


def test_parameters_are_as_many_as_the_reference_counts():
    with torch.device("meta"):
        student = network(TokenEmbeddings(width=768), Transformer())
        head = MLPHead(ratio=2.0).build(student, 768)
    assert sum(parameter.numel() for parameter in student.parameters()) == 124_054_272
    assert sum(parameter.numel() for parameter in head.parameters()) == 2_361_600
