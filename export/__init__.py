"""``python -m export RUN_DIR``: a run's student -> .tflite files, verified.

figures = export.export_run(run, run.data())
"""

from export.convert import convert
from export.verify import verify
from ser_kd.run import Run, RunData

__all__ = ["export_run"]
