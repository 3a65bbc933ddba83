"""A job on several processes: the first one does it as a single process would, the others take part in its steps.

    torchrun --nproc-per-node=K -m mspc_core scan …

The first process (rank 0, the leader) alone reads the command line, prints, and writes the run folder. The others wait
for its steps: train, measure the model, read the table's predictions, run a detector. All of them read the data set and
the run folder, so that both lie where every machine sees them.

A process that ends early ends the job: the leader records which one, and what was finished is kept. While it lives, a
process holds `.lock-<rank>` in the run folder, as the leader holds `.lock`.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mspc_core.engine import distributed
from mspc_core.engine.peers import Abandoned, PeerLost, Peers, connect, processes, rank
from mspc_core.errors import EXIT_BAD_INPUT, Cancelled, InputError
from mspc_core.job_status import held, locked, read_config
from mspc_core.reporter import Reporter

_SHARED = ("scan", "resume", "work")
_GRACE = 20.0  # seconds after SIGTERM; torchrun kills after 30
_LAST_WORD = 5.0  # seconds that the leader has for its last line
_UNDERSTOOD = 3.0  # seconds in which the lock of a process that died must be free


def check(command: str) -> None:
    """Raises `InputError` for a command that several processes would only do several times."""
    if processes() > 1 and command not in _SHARED:
        raise InputError(f"Only scan and resume run on several processes: start {command!r} without torchrun.")


def lead(work: Callable[[Path, Reporter], None], folder: Path, reporter: Reporter) -> None:
    """The leader's job: `work` as in a single process, inside the group. Raises what it raises, and `InputError` when
    another process was lost."""
    peers = connected()
    places = [_lock(folder, number) for number in range(1, peers.size)]
    alive: set[Path] = set()

    def watch() -> None:
        if reporter.should_stop():
            raise Cancelled
        alive.update(path for path in places if locked(path))
        if any(not locked(path) for path in alive):
            raise PeerLost("Another process of this job ended.")

    peers.watch = watch
    peers.tell({"step": "begin", "folder": str(folder), "device": str(read_config(folder).get("device", "auto"))})
    try:
        backend = distributed.join(peers, str(read_config(folder).get("device", "auto")))
        reporter.log(f"{peers.size} processes ({backend})")
        work(folder, reporter)
    except (PeerLost, Cancelled) as error:
        # When a process dies, torchrun asks the others to end: that looks like a wish to cancel.
        lost = _lost(peers, folder, 0.0 if isinstance(error, Cancelled) else _UNDERSTOOD)
        if not lost and isinstance(error, Cancelled):
            raise
        (folder / "cancel").unlink(missing_ok=True)
        reporter.log_exception()
        raise InputError(f"{lost or error} What was finished is kept: resume the run to go on from there.") from error
    else:
        dismiss(0)
        distributed.leave()


def dismiss(status: int = EXIT_BAD_INPUT) -> None:
    """The leader has nothing more to do: let the others end, once, with this status. One that ended well while the
    leader failed would have torchrun wait for minutes on other machines."""
    if processes() > 1 and not rank() and not _DISMISSED:
        _DISMISSED.append(status)
        try:
            connected().tell({"step": "end", "status": status})
        except (RuntimeError, InputError):
            return  # nobody is there


def connected() -> Peers:
    """The line to the other processes, made once."""
    if not _CONNECTION:
        _CONNECTION.append(connect())
    return _CONNECTION[0]


_CONNECTION: list[Peers] = []
_DISMISSED: list[int] = []


def follow() -> int:
    """The whole task of a process that does not lead; returns its exit status. It says nothing: the leader does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader decides
    signal.signal(signal.SIGTERM, lambda *_: _end_in(_GRACE))
    peers: Peers | None = None
    folder: Path | None = None
    try:
        peers = connected()
        message = peers.hear()
        if message["step"] != "begin":
            return _ended(message)
        folder = Path(message["folder"])
        with held(_lock(folder, peers.number), patience=2.0) as mine:
            if not mine:
                raise InputError("a process of an earlier start is still at work on this run")
            peers.watch = _leader_lives(folder)
            _lock(folder, peers.number).write_text(f"{os.getpid()} {socket.gethostname()}\n")
            distributed.join(peers, message["device"])
            return _ended(_Follower(folder).run(peers))
    except PeerLost:
        _leave_word(peers, folder, None)
        return EXIT_BAD_INPUT
    except BaseException as error:
        _leave_word(peers, folder, error)
        return EXIT_BAD_INPUT


class _Follower:
    """Takes part in the steps of one run."""

    def __init__(self, folder: Path) -> None:
        from mspc_core.scan_part import Part

        self.part = Part(folder)

    def run(self, peers: Peers) -> dict[str, Any]:
        """Until the leader's last message, which is returned."""
        while (message := peers.hear())["step"] != "end":
            if message["step"] == "abandon":
                continue
            try:
                with distributed.taking_part():
                    self.part.take(message)
            except (Abandoned, InputError):  # the leader met the same, or gave up for a reason of its own
                pass
            peers.done()
        peers.close()
        if not message["status"]:
            distributed.leave()
        return message


def _ended(message: dict[str, Any]) -> int:
    """The exit status that the leader gave. After a failure it speaks first: torchrun ends all when one has failed."""
    status = int(message["status"])
    if status:
        time.sleep(_LAST_WORD)
    return status


def _lock(folder: Path, number: int) -> Path:
    return folder / f".lock-{number}"


def _leader_lives(folder: Path) -> Callable[[], None]:
    """A watch that ends the wait once the leader, seen alive, is not any more."""
    seen: list[bool] = []

    def watch() -> None:
        if locked(folder / ".lock"):
            seen.append(True)
        elif seen:
            raise PeerLost("The process that leads this job ended.")

    return watch


def _lost(peers: Peers, folder: Path, seconds: float) -> str:
    """A sentence on the process that ended before its work was done; "" if none did within so many seconds. Those
    that ended because another one was lost (their word is empty) are not meant."""
    deadline = time.monotonic() + seconds
    while True:
        gone = [number for number in range(1, peers.size) if not locked(_lock(folder, number))]
        words = peers.failures()
        gone = [number for number in gone if number not in words]
        said = {number: word for number, word in words.items() if word}
        if said or gone or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    for number in sorted(said) or gone:
        where = _place(_lock(folder, number))
        reason = f": {said[number]}" if number in said else "; it was killed, or its machine is gone"
        return f"Process {number + 1} of {peers.size}{where} ended before the work was done{reason.rstrip('.')}."
    return ""


def _place(lock: Path) -> str:
    try:
        number, host = lock.read_text().split()
        return f" ({host}, pid {int(number)})"
    except (OSError, ValueError):
        return ""


def _leave_word(peers: Peers | None, folder: Path | None, error: BaseException | None) -> None:
    """One line for the leader; the whole story in the log. None: this process ends because another one did."""
    if peers is None:
        return
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    try:
        peers.fail(" ".join(text.split())[:300] if error else "")
        if error and folder is not None and folder.is_dir():
            with (folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"process {peers.number + 1} of {peers.size}:\n{traceback.format_exc()}")
    except (OSError, RuntimeError):
        return


def _end_in(seconds: float) -> None:
    """End this process in a while, whatever it waits for: usually the leader ends first, and then it ends by itself."""
    timer = threading.Timer(seconds, os._exit, (EXIT_BAD_INPUT,))
    timer.daemon = True
    timer.start()
