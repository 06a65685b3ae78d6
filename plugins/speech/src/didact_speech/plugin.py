"""What didact-speech registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import FeatureEncoder, Masker, Medium, Source, hookimpl
from didact_speech.audio import AudioMedium
from didact_speech.filterbank import MelFilterbank
from didact_speech.spans import SpanMasker
from didact_speech.waveform import ConvWaveform
from didact_speech.waveforms import Waveforms

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"conv-waveform": ConvWaveform, "mel-filterbank": MelFilterbank}


@hookimpl
def didact_maskers() -> dict[str, type[Masker]]:
    return {"span": SpanMasker}


@hookimpl
def didact_sources() -> dict[str, type[Source]]:
    return {"waveforms": Waveforms}


@hookimpl
def didact_media() -> dict[str, type[Medium]]:
    return {"audio": AudioMedium}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_speech.examples import examples

    return examples(folder)
