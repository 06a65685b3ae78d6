"""Small instances of the components of didact-perceiver, for the contract's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_kit import Example, NoiseSource, TinyEncoder, TinySource
from didact_perceiver.arrays import Arrays
from didact_perceiver.masking import RandomMasker
from didact_perceiver.perceiver import PerceiverIO
from didact_perceiver.positions import FourierPositions

bands = FourierPositions(bands=3, longest=32)
arrays = Arrays(width=16, positions=bands)
small = PerceiverIO(
    width=12, latents=5, latent_width=16, depth=2, heads=2, key_width=8, queries="positions", positions=bands
)
vectors = TinyEncoder(width=16)
grid = TinySource(height=3, length=4)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns the examples of each component, by short name."""
    return {
        "arrays": [
            Example(spec=spec, source=source)
            for source in (
                NoiseSource(kind="tokens", axes=(20,), uneven=True, vocabulary=50),
                NoiseSource(kind="waveform", axes=(40,), uneven=True, rate_hz=16_000),
                NoiseSource(kind="image", axes=(3, 8, 6)),
            )
            for spec in (arrays, arrays.evolve(patch=2))
        ],
        "random": [Example(spec=RandomMasker()), Example(spec=RandomMasker(cells=5, ratio=0.3))],
        "perceiver-io": [
            Example(spec=spec, encoder=encoder, source=source)
            for spec in (small, small.evolve(queries="content"))
            for encoder, source in (
                (vectors, TinySource(uneven=True)),
                (vectors, grid),
                (TinyEncoder(width=16, class_token=True), grid),
            )
        ],
        "fourier-positions": [Example(spec=FourierPositions())],
    }
