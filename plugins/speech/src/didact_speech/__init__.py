"""Speech for didact: encoders of waveforms, learned and fixed, span masks, sound from a store."""

from didact_speech.audio import AudioMedium
from didact_speech.filterbank import MelFilterbank
from didact_speech.spans import SpanMasker
from didact_speech.waveform import ConvWaveform
from didact_speech.waveforms import Waveforms

__all__ = ["AudioMedium", "ConvWaveform", "MelFilterbank", "SpanMasker", "Waveforms"]
