"""Sound and its features: decoding, windows, log-mel, augmentation, views, voice activity."""
