"""How everything is measured: what the command line asks for."""

from dataclasses import dataclass

from ser_kd.android_bench.matrix import Configuration
from ser_kd.android_bench.model import Model


@dataclass(frozen=True)
class Options:
    """How every configuration is measured.

    Attributes:
        runs: Inferences that are timed, at least (--num_runs).
        repetitions: How often each configuration is started anew.
        cooldown_seconds: Pause between two runs.
        timeout_seconds: Of one run.
        reconnect_seconds: How long a lost device is waited for.
        profile: One more run of each configuration, with the time of every operator.
        cpu_mask: Hexadecimal, for ``taskset``; None = wherever the device puts it.
        fixed_performance: Android's sustainable speed, for all of the measurement.
        keep: Leave on the device what was copied there.
        extra_flags: For the tool, as they are.
        seed: Of the order.
    """

    runs: int = 50
    repetitions: int = 3
    cooldown_seconds: float = 5.0
    timeout_seconds: float = 300.0
    reconnect_seconds: float = 30.0
    profile: bool = False
    cpu_mask: str | None = None
    fixed_performance: bool = False
    keep: bool = False
    extra_flags: tuple[str, ...] = ()
    seed: int = 0

    def flags(self, model: Model, configuration: Configuration) -> list[str]:
        """The tool's flags, without those that name files on the device."""
        flags = [*configuration.flags(), f"--num_runs={self.runs}"]
        if model.signature is not None:
            flags.append(f"--signature_to_run_for={model.signature}")
        given = {flag.split("=")[0] for flag in self.extra_flags}
        return [flag for flag in flags if flag.split("=")[0] not in given] + list(self.extra_flags)
