"""Latency of .tflite models on the phone that is plugged in, standard library only.

``ser-kd bench --help`` says how; ``docs/phone.md`` says what the figures mean.
"""
