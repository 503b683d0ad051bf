"""Keeping the chatter of native libraries off the terminal."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

# File descriptor 2 belongs to the whole process: two threads must not swap it at once.
_LOCK = threading.RLock()


@contextlib.contextmanager
def stderr_held() -> Iterator[None]:
    """Holds back what the block writes to file descriptor 2, libraries' C++ code included.

    It is shown if the block fails, else dropped.
    """
    with _LOCK:
        try:
            terminal = os.dup(2)
        except OSError:  # stderr is closed: nothing to hold back
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            except Exception:
                held.seek(0)
                with open(terminal, "wb", buffering=0, closefd=False) as shown:
                    shown.write(held.read())
                raise
            finally:
                os.dup2(terminal, 2)
                os.close(terminal)
