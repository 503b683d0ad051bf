"""What a network begins with when that is not chance: a finished student, or YAMNet.

Training that goes on from a finished student needs a third of the epochs, and one's own recordings
need not be many. Where the student was trained on the same clips, the result is a student of a
second generation (born-again networks, Furlanello et al., arXiv 1805.04770).
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from ser_kd.config import Config, StudentConfig
from ser_kd.errors import UserError
from ser_kd.students import yamnet
from ser_kd.students.frontend import Frontend, find_frontend
from ser_kd.students.saved import load_keras


def require_file(network: StudentConfig, config: Config, labels: Sequence[str]) -> None:
    """Reads what a network begins with, before anything is trained.

    Args:
        network: The run's student, or one of a teacher.
        config: Of the run.
        labels: Of the run.

    Raises:
        UserError: A file is missing, or is not what this run's network could begin with.
    """
    path = Path(network.initial_weights).expanduser()
    if network.initial_weights and path.suffix == ".keras":
        load_keras(path)
        theirs, _ = find_frontend(path)
        wanted = theirs if network.transfer != "all" else labels
        require_same_input("student.initial_weights", path, config, wanted)
    elif network.initial_weights:
        yamnet.read_convolutions(path, network.blocks)


def require_same_input(
    where: str, path: Path, config: Config, labels: Sequence[str], frames: bool = False
) -> None:
    """A finished student is of use to a run with its labels and its mel bands only.

    Args:
        where: The setting that names it.
        path: Its .keras file, in its run or beside its frontend.json.
        config: Of the run.
        labels: Of the run.
        frames: Whether its window has to be as long, too.

    Raises:
        UserError: Names what differs.
    """
    theirs, frontend = find_frontend(path)
    if theirs != tuple(labels):
        raise UserError(
            f"{where}: {path} names {', '.join(theirs)}; this run has {', '.join(labels)}"
        )
    wanted = Frontend.of(config)
    for key in (*wanted.mel_bands, "hop_samples", *(["frames"] if frames else [])):
        here, there = getattr(wanted, key), getattr(frontend, key)
        if there != here:
            raise UserError(
                f"{where}: {path} has another front end ({key} = {there:g}, here {here:g}); it "
                "could not use what this run's student is given"
            )


def begin(model: keras.Model, network: StudentConfig, windows: np.ndarray) -> None:
    """Sets a network's weights to what ``network.initial_weights`` has; nothing if that is empty.

    Args:
        model: As ``student.build_student`` makes it, its feature statistics set; they stay.
        network: Its configuration.
        windows: Log-mel windows of training clips, float32 ``[windows, frames, mels]`` in dB.

    Raises:
        UserError: The file is missing, or has another network.
    """
    path = Path(network.initial_weights).expanduser()
    if not network.initial_weights:
        return
    if path.suffix != ".keras":
        convolutions = yamnet.read_convolutions(path, network.blocks)
        yamnet.begin_with(model, yamnet.narrowed(convolutions, model, windows), windows)
        return
    _copy(load_keras(path), model, network, apart="standardize")


def begin_body(
    model: keras.Model, network: StudentConfig
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Gives a network the body and the feature statistics of a finished student.

    Args:
        model: As ``student.build_student`` makes it, with any number of classes; its head stays.
        network: Its configuration, with ``initial_weights``.

    Returns:
        The finished student's labels, and its head: kernel ``[channels, its classes]`` and bias.

    Raises:
        UserError: The file is missing, or has another network.
    """
    path = Path(network.initial_weights).expanduser()
    finished, (labels, _) = load_keras(path), find_frontend(path)
    _copy(finished, model, network, apart="logits")
    return (labels, *finished.get_layer("logits").get_weights())


def _copy(finished: keras.Model, model: keras.Model, network: StudentConfig, apart: str) -> None:
    """Sets all weights but those of the layer ``apart`` to the finished student's."""
    theirs, ours = _weights(finished, apart), _weights(model, apart)
    if [value.shape for value in theirs] != [variable.shape for variable in ours]:
        raise UserError(
            f"student.initial_weights: {network.initial_weights} is another network than "
            f"student.kind = {network.kind!r}, student.width = {network.width:g}; give that one's "
            "settings"
        )
    for variable, value in zip(ours, theirs, strict=True):
        variable.assign(value)


def _weights(model: keras.Model, apart: str) -> list[keras.Variable]:
    layers = (layer for layer in model.layers if layer.name != apart)
    return [variable for layer in layers for variable in layer.weights]
