"""Every setting of a run: frozen dataclasses, read from recipes and ``--set`` overrides."""

from ser_kd.config.recipes import *  # noqa: F403
from ser_kd.config.run import *  # noqa: F403
from ser_kd.config.settings import *  # noqa: F403
from ser_kd.config.teachers import *  # noqa: F403
