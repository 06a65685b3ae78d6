"""Speech for didact: waveform encoder, span masks, audio sources."""
