"""What every test needs: a quiet TensorFlow on one thread, and made-up audio."""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# One thread: the machine's other users are not slowed down, and sums have one order.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

# Each test process compiles librosa's functions for itself: numba writes a function to its cache in
# two files, and two processes that fill one cache can mix them, which crashes (numba/numba#10128).
os.environ["NUMBA_CACHE_DIR"] = (_CACHE := tempfile.TemporaryDirectory(prefix="ser_kd-numba-")).name

import gc
from collections.abc import Callable

import numpy as np
import pytest

SAMPLE_RATE_HZ = 16_000


def pytest_collection_finish() -> None:
    """Leaves what was imported out of every collection of garbage.

    A million objects are looked through in half a second, each time that TensorFlow converts.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def sine() -> Callable[..., np.ndarray]:
    """float32 ``[samples]``: a tone."""

    def make(hz: float = 440.0, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
        time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        return (amplitude * np.sin(2.0 * np.pi * hz * time)).astype(np.float32)

    return make


@pytest.fixture
def noise(rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """float32 ``[samples]``: white noise, another one with every call."""

    def make(seconds: float = 1.0, amplitude: float = 0.1) -> np.ndarray:
        samples = rng.normal(size=round(seconds * SAMPLE_RATE_HZ))
        return (amplitude * samples).clip(-1.0, 1.0).astype(np.float32)

    return make
