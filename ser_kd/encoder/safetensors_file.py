"""Weights in a safetensors file."""

from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ser_kd.encoder.torch_file import damaged, refuse_placeholder
from ser_kd.errors import UserError


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file; bfloat16 becomes float32.

    Raises:
        UserError: It is damaged, or has tensors of a type that NumPy lacks.
    """
    refuse_placeholder(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    # safetensors asks NumPy for the type by its name. "bfloat16" is known because this module
    # imports ml_dtypes; for float8, safetensors 0.8 looks in the wrong place.
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{path} has tensors of a type that NumPy lacks ({error}): save them as float32, "
            "float16 or bfloat16"
        ) from error
    return {
        name: tensor.astype(np.float32) if tensor.dtype == ml_dtypes.bfloat16 else tensor
        for name, tensor in tensors.items()
    }
