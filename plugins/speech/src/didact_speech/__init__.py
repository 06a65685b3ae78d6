"""Speech for didact: the waveform encoder, span masks, sound from a store."""

from didact_speech.audio import AudioMedium
from didact_speech.spans import SpanMasker
from didact_speech.waveform import ConvWaveform
from didact_speech.waveforms import Waveforms

__all__ = ["AudioMedium", "ConvWaveform", "SpanMasker", "Waveforms"]
