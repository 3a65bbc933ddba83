"""What a process under test may do: watched through Python's audit events, limited by the system.

An audit hook cannot be taken back, so this is only ever installed in a worker process (`tests.fuzz.worker`).
"""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Data must never lead here, whatever else happens.
_FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "pty.spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "webbrowser.open", "ftplib.connect"),
    *("pickle.find_class", "marshal.loads", "ctypes.dlopen", "os.kill", "os.chown", "shutil.unpack_archive"),
)
# Events that change the file system, with the positions of the paths among their arguments.
_CHANGES = {
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.link": (0, 1),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.utime": (0,),
    "os.setxattr": (0,),
    "shutil.rmtree": (0,),
    "shutil.move": (0, 1),
    "shutil.copyfile": (1,),
    "shutil.copytree": (1,),
    "tempfile.mkstemp": (0,),
    "tempfile.mkdtemp": (0,),
}
_LOOKS = {"os.listdir": (0,), "os.scandir": (0,), "shutil.copyfile": (0,), "os.walk": (0,)}
_SYSTEM = (
    *(
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/version",
        "/proc/stat",
        "/dev/null",
        "/dev/urandom",
        "/sys/devices",
        "/sys/fs/cgroup",
    ),
    *("/etc/mime.types", "/etc/localtime", "/usr/share/zoneinfo", "/usr/lib", "/lib"),
)
_CACHED = ("streamlit.", "mspc_core.", "ui.", "pandas.", "numpy", "datetime", "pathlib")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Records what the code between `with watch.on():` does that it must not do."""

    def __init__(self, readable: Sequence[Path], writable: Sequence[Path]) -> None:
        python = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
        # Streamlit looks for its settings there.
        system = ("/proc/self", f"/proc/{os.getpid()}", os.path.expanduser("~/.streamlit"), *_SYSTEM)
        self._writable = _roots(writable)
        self._readable = (*_roots([*readable, *map(Path, python), *map(Path, system)]), *self._writable)
        self.found: list[str] = []
        self._on = False
        sys.addaudithook(self._hear)

    @contextmanager
    def on(self) -> Iterator[None]:
        self.found, self._on = [], True
        try:
            yield
        finally:
            self._on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, _, flags = arguments
            follow = not (flags or 0) & os.O_NOFOLLOW
            self._check(event, path, writing=bool((flags or 0) & _WRITING), follow=follow)
        elif event in _CHANGES or event in _LOOKS:
            for places, writing in ((_CHANGES.get(event, ()), True), (_LOOKS.get(event, ()), False)):
                for place in places:
                    self._check(event, arguments[place] if place < len(arguments) else None, writing=writing)
        elif event.startswith(_FORBIDDEN):
            if event == "marshal.loads" or event == "ctypes.dlopen":
                return  # Python's own imports do it; files they read are checked above
            if event == "pickle.find_class" and str(arguments[0]).startswith(_CACHED):
                return  # streamlit's cache keeps its own results pickled, in memory
            self._note(f"{event}{arguments!r}")

    def _check(self, event: str, path: Any, *, writing: bool, follow: bool = True) -> None:
        if path is None or isinstance(path, int):
            return  # a descriptor: its opening was seen
        self._on = False  # resolving must not be heard
        try:
            text = os.fsdecode(path)
            # The system refuses to follow a link at the end of a path that is opened with O_NOFOLLOW.
            head, tail = os.path.split(text)
            real = os.path.realpath(text) if follow else os.path.join(os.path.realpath(head), tail)
        except (ValueError, TypeError):
            return
        finally:
            self._on = True
        if not os.path.isabs(text) and event != "open" and "/" not in text:
            return  # relative to a folder's descriptor (`rmtree`), whose own opening was seen
        if event == "os.scandir" and real == "/dev":
            return  # looking for accelerators
        if not _below(real, self._writable if writing else self._readable):
            self._note(f"{event} {'for writing' if writing else ''} {text!r} ({real!r})")

    def _note(self, what: str) -> None:
        self.found.append(what[:300])


def _roots(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(sorted({os.path.realpath(path) for path in paths}))


def _below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def limit_memory(extra: int) -> None:
    """Let the address space grow by `extra` bytes from here."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + extra, resource.RLIM_INFINITY))


def limit_cpu(seconds: int) -> None:
    """Let this process compute for `seconds` more; then the system ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def forget_peak() -> None:
    """Start a new measurement of the largest resident size."""
    with open("/proc/self/clear_refs", "w") as handle:
        handle.write("5")


def peak_bytes() -> int:
    """The largest resident size since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
