"""What didact-speech registers."""

from didact import FeatureEncoder, Masker, Medium, Source, hookimpl
from didact_speech.audio import AudioMedium
from didact_speech.filterbank import MelFilterbank
from didact_speech.spans import SpanMasker
from didact_speech.waveform import ConvWaveform
from didact_speech.waveforms import Waveforms


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
