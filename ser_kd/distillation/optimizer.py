"""AdamW with a learning rate of its own for each part of a model, and a linear schedule."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ser_kd")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then linear decay.

    Args:
        learning_rate: The highest.
        final_learning_rate: From the last step on.
        warmup_steps: Until the highest is reached.
        total_steps: Warm-up included.
    """

    def __init__(
        self,
        learning_rate: float,
        final_learning_rate: float,
        warmup_steps: int,
        total_steps: int,
    ) -> None:
        self.learning_rate, self.final_learning_rate = learning_rate, final_learning_rate
        self.warmup_steps, self.total_steps = warmup_steps, total_steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step."""
        step = ops.cast(step, "float32")
        rising = self.learning_rate * step / max(1, self.warmup_steps)
        left = (self.total_steps - step) / max(1, self.total_steps - self.warmup_steps)
        fall = self.learning_rate - self.final_learning_rate
        falling = self.final_learning_rate + fall * ops.clip(left, 0.0, 1.0)
        return ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same schedule."""
        return {
            "learning_rate": self.learning_rate,
            "final_learning_rate": self.final_learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


class ScaledAdamW(keras.optimizers.AdamW):
    """AdamW (arXiv 1711.05101) whose learning rate is scaled per variable, weight decay with it.

    Args:
        scale: Variable path -> factor on the learning rate.
        **kwargs: Of ``keras.optimizers.AdamW``.
    """

    def __init__(self, scale: Callable[[str], float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, variables: Any) -> None:
        """Looks the factors up."""
        super().build(variables)
        # By index: the TensorFlow backend hands the steps its own variables, which have no path.
        self._scales = [self.scale(variable.path) for variable in variables]

    def _scale_of(self, variable: Any) -> float:
        return self._scales[self._get_variable_index(variable)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update, at its own rate."""
        super().update_step(gradient, variable, learning_rate * self._scale_of(variable))

    def _apply_weight_decay(self, variables: Any) -> None:
        for variable in variables:
            if self._use_weight_decay(variable):
                rate = ops.cast(self.learning_rate, variable.dtype) * self._scale_of(variable)
                variable.assign(variable - variable * (self.weight_decay * rate))
