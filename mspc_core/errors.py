"""The two ways a computation ends early, told apart from bugs.

`InputError` carries one clear sentence for the user (what is wrong and what to do); the command line prints it and
exits with status 2, the app shows it in a box. Any other exception is a bug and keeps its traceback in the log.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130

# progress(done, total, message): called often, must be cheap. `total` is the amount of work of the present stage.
Progress = Callable[[int, int, str], None]
ShouldStop = Callable[[], bool]


class InputError(Exception):
    """The input cannot be used; `str(error)` is one sentence that says what is wrong and what to do."""


class Cancelled(Exception):  # noqa: N818 - a request, not an error
    """The user asked to stop; what was finished before stays valid and the job can be resumed."""


def stop_if(should_stop: ShouldStop | None) -> None:
    """Raise `Cancelled` when the caller asked to stop."""
    if should_stop is not None and should_stop():
        raise Cancelled("cancelled by the user")


MEMORY = "Memory ran out: use a smaller image size or close other programs."


def out_of_memory(error: BaseException) -> bool:
    """Python raises MemoryError; PyTorch a RuntimeError of several wordings, for the device's memory as well; and a
    library that finds no room when it is loaded is an ImportError."""
    text = str(error).lower()
    words = (
        *("out of memory", "allocate memory", "not enough memory", "alloc_failed", "failed to map segment"),
        "could not create a primitive",  # oneDNN, which finds no room for its code
    )
    worded = isinstance(error, RuntimeError | ImportError) and any(word in text for word in words)
    return isinstance(error, MemoryError) or worded


def one_line(error: object, limit: int = 120) -> str:
    """What an error says, fit to stand inside of a sentence: libraries quote what they read."""
    text = "".join(character if character.isprintable() else " " for character in str(error)[: 4 * limit])
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def explain_os_error(error: OSError) -> str:
    """One sentence for the operating system's refusals a user can do something about."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}: free some space, then start again; what was finished is kept."
    if error.errno == errno.EFBIG:
        return f"A file would get larger than is allowed here{where}: raise the limit (ulimit -f), then start again."
    if error.errno == errno.ENOMEM:
        return MEMORY
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to read or write{where}: change its permissions or choose another place."
    if error.errno == errno.EROFS:
        return f"The disk is read-only{where}: choose another place with --out or BACKDOOR_LENS_HOME."
    return f"The system refused a file operation{where}: {error.strerror or error}."
