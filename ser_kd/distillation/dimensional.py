"""Running a network of continuous targets over whole clips."""

import keras
import numpy as np
import tensorflow as tf

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.data import batching, clip_arrays
from ser_kd.students.heads import DIMENSIONS

_BATCH = 128


class DimensionPredictor:
    """Runs a network over whole clips: the dimensions that it predicts, averaged over windows.

    Made once per network and kept, because tracing its graph takes longer than running it.

    Args:
        model: As ``heads.dimensional_student`` or ``heads.multi_task_student`` makes it.
        windowing: Where the windows lie.
    """

    def __init__(self, model: keras.Model, windowing: Windowing) -> None:
        self.windowing, self.window = windowing, model.input_shape[1]
        self.dimensions = model.output[DIMENSIONS].shape[-1]

        @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
        def run(features: tf.Tensor) -> tf.Tensor:
            return model(features, training=False)[DIMENSIONS]

        # The one graph: TensorFlow warns of retracing where several networks are evaluated.
        self._run = run.get_concrete_function()

    def predict(self, arrays: clip_arrays.ClipArrays) -> np.ndarray:
        """Of log-mel frames: float32 ``[clips, dimensions]``, -1..1."""
        batches = batching.evaluation_batches(arrays, self.windowing, self.window, _BATCH)
        values = ((clips, self._run(windows).numpy()) for clips, windows, _ in batches)
        return batching.average_windows(arrays, values, self.dimensions)

    def score(self, arrays: clip_arrays.ClipArrays, ratings: np.ndarray) -> dict[str, float]:
        """``ccc``, the mean of the dimensions; ``ratings`` are ``[clips, dimensions]``, -1..1.

        A dimension of which these clips tell nothing does not count.
        """
        return {"ccc": float(np.nanmean(metrics.concordance(ratings, self.predict(arrays))))}
