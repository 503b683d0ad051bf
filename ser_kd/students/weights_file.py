"""The file that a student's weights begin with, without reading it: nothing here needs Keras."""

from pathlib import Path

from ser_kd.errors import UserError

YAMNET_URL = "https://tfhub.dev/google/lite-model/yamnet/classification/tflite/1?lite-format=tflite"
"""sha256 of what we had: 10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de."""


def require_weights_file(path: Path) -> None:
    """That the file of ``student.initial_weights`` is there.

    Raises:
        UserError: It is not; of YAMNet, it says where that is to be had.
    """
    if path.is_file():
        return
    if path.suffix == ".keras":
        raise UserError(f"student.initial_weights: no file {path}")
    raise UserError(
        f"student.initial_weights: no file {path}; it is YAMNet for TensorFlow Lite, 4.1 MB: "
        f"curl -Lo yamnet.tflite '{YAMNET_URL}', then --set student.initial_weights=yamnet.tflite"
    )
