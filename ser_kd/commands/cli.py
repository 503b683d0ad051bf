"""What every command has in common: errors of the user are one line, never a stack trace."""

import codecs
import errno
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from ser_kd.errors import UserError, is_disk_full
from ser_kd.quiet import stderr_held
from ser_kd.registry import missing_extra

_ESCAPE = "ser_kd.escape"


def guarded(main: Callable[[], int]) -> int:
    """Runs ``main`` and turns what a user can mend into one line on stderr.

    Returns:
        The exit status: that of ``main``; 2 after a ``UserError``, a package that is not installed
        or an error of the operating system (a full disk, a missing permission); 130 after Ctrl-C.
    """
    # TensorFlow's own start-up chatter hides the lines that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # So does transformers' advice to install PyTorch: only its configurations are used.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    quiet = _QuietTensorFlow()
    sys.meta_path.insert(0, quiet)
    try:
        return main()
    except UserError as error:
        _complain(str(error))
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        _complain(str(missing))
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing to report, nobody to report to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        hint = ": free some space, then run the same command again" if is_disk_full(error) else ""
        what = error.strerror or (os.strerror(errno.ENOSPC) if hint else error)
        _complain(f"{what}{where}{hint}")
    except KeyboardInterrupt:
        print(
            "\ninterrupted; what is finished is kept: run the same command again to go on",
            file=sys.stderr,
        )
        return 130
    finally:
        quiet.remove()
    return 2


def print_any_character() -> None:
    """What the terminal's encoding lacks is printed as JSON escapes it.

    So a file's name or a label never ends a command (Windows' cp1252, ``LANG=C``, names that are
    not UTF-8), and JSON stays JSON.
    """
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _complain(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Wherever TensorFlow is first imported, its start-up messages stay unseen.

    They come from C++ before its log level is known, so that ``TF_CPP_MIN_LOG_LEVEL`` does not
    reach them.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        self.remove()
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_quietly(module: ModuleType) -> None:
                with stderr_held():
                    run(module)
                # Its advice about retracing is for who writes the code, not for who runs it.
                logging.getLogger("tensorflow").setLevel(logging.ERROR)

            spec.loader.exec_module = run_quietly  # type: ignore[method-assign]
        return spec

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
