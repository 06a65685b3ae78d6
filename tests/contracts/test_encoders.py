"""`FeatureEncoder`."""

from didact.testing import check_encoder


def test_every_encoder_keeps_the_contract(encoder, signals):
    check_encoder(encoder.spec, *signals(encoder.name))
