"""Speech emotion recognition by knowledge distillation, ending on a phone."""

__version__ = "0.1.0"
