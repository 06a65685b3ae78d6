from .audio import AudioMedium as AudioMedium
from .filterbank import MelFilterbank as MelFilterbank
from .spans import SpanMasker as SpanMasker
from .waveform import ConvWaveform as ConvWaveform
from .waveforms import Waveforms as Waveforms
