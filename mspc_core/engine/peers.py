"""The processes of one job that `torchrun` started: signs of life, what the first one tells the others, and waiting.

Everything here goes through the small key-value store that torchrun runs (or the first process, where another launcher
set the same variables). Waiting is polling, and ends when a process is lost: a process that died, was stopped or whose
machine is gone gives no sign of life. How long the others take for their work does not matter. Importing this loads no
torch.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mspc_core.errors import InputError

_PATIENCE = 300.0  # seconds without a sign of life, or in one exchange of data
_BEATS_EVERY = 2.0
_QUICKEST, _SLOWEST = 0.001, 0.1  # seconds between two looks at the store


class PeerLost(RuntimeError):  # noqa: N818 - what happened, as a name
    """Another process of this job is gone, or does not answer."""


class Abandoned(Exception):  # noqa: N818 - a request, not an error
    """The first process gave up the step that is under way; the next one follows."""


def processes() -> int:
    """How many processes work on this job together, by the launcher's WORLD_SIZE; 1 without a launcher."""
    return _variable("WORLD_SIZE", 1)


def rank() -> int:
    """This process's number among them; 0 leads."""
    return _variable("RANK", 0) if processes() > 1 else 0


def local_rank() -> int:
    """Its number among those on this machine: the number of the GPU that it takes."""
    return _variable("LOCAL_RANK", 0) if processes() > 1 else 0


def local_processes() -> int:
    """How many of them are on this machine."""
    return _variable("LOCAL_WORLD_SIZE", processes()) if processes() > 1 else 1


def patience() -> float:
    """Seconds that a process may be silent before the job ends; BACKDOOR_LENS_PATIENCE sets them."""
    try:
        return max(1.0, float(os.environ.get("BACKDOOR_LENS_PATIENCE") or _PATIENCE))
    except ValueError:
        raise InputError("BACKDOOR_LENS_PATIENCE is a number of seconds, such as 300.") from None


def _variable(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name) or default)
    except ValueError:
        raise InputError(f"The launcher's {name} is not a number: start the job with torchrun.") from None


class Peers:
    """This process's line to the others. watch: called now and then while waiting; may raise to end the wait.

    Messages are JSON, never pickles. Their order is the order of the job's steps, so that all processes meet in the
    same places.
    """

    def __init__(self, store: Any, signs: Any, number: int, size: int) -> None:
        """store: of torch.distributed; signs: a second connection to it, for the thread that shows signs of life."""
        self.store, self.number, self.size = store, number, size
        self.watch: Callable[[], None] = lambda: None
        self._told = self._heard = self._met = 0
        self._lost: PeerLost | None = None
        self._over = threading.Event()
        threading.Thread(target=self._live, args=(signs,), daemon=True).start()

    def tell(self, message: dict[str, Any]) -> None:
        """The leader's next message to all others."""
        self.store.set(f"told/{self._told}", json.dumps(message))
        self._told += 1
        self._heard, self._met = self._told, 0

    def hear(self) -> dict[str, Any]:
        """The leader's next message; waits for it. Raises `PeerLost`."""
        key = f"told/{self._heard}"
        self._wait(lambda: bool(self.store.check([key])))
        self._heard, self._met = self._heard + 1, 0
        found: dict[str, Any] = json.loads(self.store.get(key))
        return found

    def meet(self) -> None:
        """Wait until every process is here. Raises `PeerLost`, and `Abandoned` if the leader has given up the step."""
        key = f"met/{self._heard}/{self._met}"
        self._met += 1
        self.store.add(key, 1)

        def all_here() -> bool:
            if int(self.store.add(key, 0)) >= self.size:
                return True
            if self.number and self.store.check([f"told/{self._heard}"]):
                raise Abandoned
            if not self.number and int(self.store.add(f"done/{self._heard}", 0)):
                raise PeerLost("Another process ended this step early.")
            return False

        self._wait(all_here)

    def done(self) -> None:
        """A follower has finished the step that it heard of."""
        self.store.add(f"done/{self._heard}", 1)

    def wait_done(self, step: int) -> None:
        """The leader waits until all others have finished a step (by the number that `step` gave)."""
        self._wait(lambda: int(self.store.add(f"done/{step}", 0)) >= self.size - 1)

    @property
    def step(self) -> int:
        """Number of the step under way."""
        return self._heard

    def fail(self, reason: str) -> None:
        """Leave word for the leader why this process ends."""
        self.store.set(f"failed/{self.number}", reason)

    def failures(self) -> dict[int, str]:
        """What processes left word of, by their number. {} where the store is gone, too."""
        try:
            keys = {other: f"failed/{other}" for other in range(self.size)}
            return {other: self.store.get(key).decode() for other, key in keys.items() if self.store.check([key])}
        except RuntimeError:
            return {}

    def close(self) -> None:
        """No more signs of life."""
        self._over.set()

    def _wait(self, ready: Callable[[], bool]) -> None:
        pause, looked = _QUICKEST, time.monotonic()
        while True:
            try:
                if ready():
                    return
            except PeerLost:
                raise
            except RuntimeError as error:  # of torch: the store is gone, and with it the process that keeps it
                raise PeerLost("The process that started this job is gone.") from error
            if self._lost is not None:
                raise self._lost
            if time.monotonic() - looked > 0.5:
                looked = time.monotonic()
                self.watch()
            time.sleep(pause)
            pause = min(2 * pause, _SLOWEST)

    def _live(self, signs: Any) -> None:
        """Show signs of life, and look for those of the others (a follower: of the leader alone)."""
        watched = range(1, self.size) if not self.number else range(1)
        seen: dict[int, tuple[bytes, float]] = {other: (b"", time.monotonic()) for other in watched}
        limit, count = patience(), 0
        while not self._over.wait(min(_BEATS_EVERY, limit / 5)):
            try:
                signs.set(f"alive/{self.number}", str(count))
                count += 1
                for other, (last, since) in seen.items():
                    now = signs.get(f"alive/{other}") if signs.check([f"alive/{other}"]) else b""
                    if now != last:
                        seen[other] = (now, time.monotonic())
                    elif time.monotonic() - since > limit:
                        self._lost = PeerLost(f"Process {other + 1} of {self.size} has not answered for {limit:.0f} s.")
                        return
            except RuntimeError:
                if not self._over.is_set():
                    self._lost = PeerLost("The process that started this job is gone.")
                return


def connect() -> Peers:
    """Connect to the store by the launcher's variables. Raises `InputError` where it cannot be reached."""
    from torch.distributed import PrefixStore, TCPStore
    from torch.distributed.rendezvous import rendezvous

    limit = timedelta(seconds=patience())
    try:
        store, number, size = next(iter(rendezvous("env://", timeout=limit)))
        second = TCPStore(os.environ["MASTER_ADDR"], _variable("MASTER_PORT", 0), is_master=False, timeout=limit)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(
            f"The other processes of this job cannot be reached ({reason}): start it with torchrun."
        ) from None
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Peers(PrefixStore("steps", store), PrefixStore(f"signs/{attempt}", second), number, size)
