"""Speech emotion recognition by knowledge distillation, ending on a phone.

model = ser_kd.load()
model.predict("clip.wav").label
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_kd.api import Model, Prediction, Voice, load, load_encoder

__all__ = ["Model", "Prediction", "Voice", "__version__", "load", "load_encoder"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports the front door when it is first used (PEP 562): commands need not wait for NumPy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("ser_kd.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
