"""The plugin of didact-speech."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_feature_encoders() -> Mapping[str, str]:
    return {
        "conv-waveform": "didact_speech.waveform:ConvWaveform",
        "mel-filterbank": "didact_speech.filterbank:MelFilterbank",
    }


@hookimpl
def didact_maskers() -> Mapping[str, str]:
    return {
        "span": "didact_speech.spans:SpanMasker",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "waveforms": "didact_speech.waveforms:Waveforms",
        "audio": "didact_speech.audio:AudioMedium",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_speech.examples:examples"
