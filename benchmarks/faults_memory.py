"""A scan that the system's memory killer ends, for real; then resumed with enough memory and compared with one that was
never disturbed, bit by bit.

    python -m benchmarks.faults_memory [--rounds 4] [--seed 0] [--out benchmarks/results/faults-memory.json]

Three ways to run out, as far as the machine allows them:

- `limit`: the scan in a memory cgroup that is smaller than the scan gets, between what it has after its imports and its
  largest size. The kernel ends the process without a word.
- `neighbour`: in a cgroup that is large enough, another process takes the memory at a random moment, and the kernel
  chooses the scan as its victim.
- `address space`: RLIMIT_AS, below what the scan gets: here the process is told, and can say so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import fault_world
from benchmarks.common import machine
from benchmarks.faults import age
from mspc_core import atomic, jobs, runs

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
_EATS = "import time\nheld = []\nfor _ in range(4096):\n    held.append(bytearray(4 * 2**20))\n    time.sleep(0.001)\n"


@dataclass(frozen=True)
class Group:
    """A memory cgroup made below the one that this process is in. version: of the cgroup interface."""

    folder: Path
    version: int

    def limit(self, size: int) -> None:
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        (self.folder / name).write_text(str(size))

    def join(self) -> None:
        """Move the calling process into the group: for `preexec_fn`."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def killed(self) -> int:
        """How many processes of the group the kernel has ended for memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        lines = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(lines.get("oom_kill", 0))


@contextmanager
def group() -> Iterator[Group | None]:
    """A new group; None where none can be made: no rights, another system, or the controller is not handed down."""
    made = next((found for found in map(_make, _own_groups()) if found), None)
    try:
        yield made
    finally:
        if made is not None:
            for _ in range(50):  # the last process may still be leaving
                with contextlib.suppress(OSError):
                    made.folder.rmdir()
                    break
                time.sleep(0.1)


def _own_groups() -> list[tuple[Path, int]]:
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                found.append((Path(f"/sys/fs/cgroup/memory{path}"), 1))
            elif not controllers:
                found += [(Path(f"{root}{path}"), 2) for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")]
    return found


def _make(place: tuple[Path, int]) -> Group | None:
    folder, version = place[0] / f"backdoor-lens-{secrets.token_hex(4)}", place[1]
    needed = "memory.max" if version == 2 else "memory.limit_in_bytes"
    try:
        folder.mkdir()
    except OSError:
        return None
    if (folder / needed).exists():
        return Group(folder, version)
    folder.rmdir()
    return None


def scan(home: Path, world: fault_world.World, before: Any = None) -> subprocess.Popen[bytes]:
    """The command, started; `before` runs in the new process first. The same again goes on where it was."""
    options = ["--detectors", world.detectors, "--epochs", str(world.epochs), "--device", "cpu"]
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment["BACKDOOR_LENS_PRECISION"] = "float32"
    out = str(home / "runs" / fault_world.RUN)
    with (home / "said.txt").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "mspc_core", "scan", fault_world.DATA, *options, "--out", out],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=said,
            preexec_fn=before,
        )


def new_home(root: Path, name: str, world: fault_world.World) -> Path:
    """A home with the data set."""
    home = root / name
    home.mkdir()
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(home)}
    command = ["import", str(root / "source"), "--name", fault_world.DATA, "--size", str(world.size)]
    subprocess.run([sys.executable, "-m", "mspc_core", *command], cwd=ROOT, env=environment, check=True, **_QUIET)
    return home


_QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def fingerprint(home: Path, world: fault_world.World) -> str:
    os.environ["BACKDOOR_LENS_HOME"] = str(home)
    return fault_world.fingerprint("scan", {}, world)


def measured(process: subprocess.Popen[bytes], field: str) -> int:
    """Wait for the end; the largest RssAnon (resident; mapped files can be given back) or VmPeak (address
    space) that was seen, in bytes."""
    largest = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            largest = max(largest, int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024)
        time.sleep(0.005)
    return largest


def _ended(process: subprocess.Popen[bytes], deadline: float = 600.0) -> int:
    return process.wait(deadline)


def run_out(way: str, home: Path, world: fault_world.World, size: int, moment: float) -> dict[str, Any]:
    """One scan that runs out of memory; returns what became of it."""
    record: dict[str, Any] = {"way": way, "mib": round(size / MIB)}
    if way == "address space":
        process = scan(home, world, lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)))
        code = _ended(process)
    else:
        with group() as made:
            assert made is not None
            made.limit(size)
            process = scan(home, world, made.join)
            eater = None
            if way == "neighbour":
                Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")  # the kernel's choice
                record["at_seconds"] = round(moment, 2)
                time.sleep(moment)
                eater = subprocess.Popen([sys.executable, "-c", _EATS], preexec_fn=made.join, **_QUIET)
            code = _ended(process)
            if eater is not None:
                eater.kill()
                eater.wait()
            record["kernel_killed"] = made.killed()
    lines = (home / "said.txt").read_text(errors="replace").strip().splitlines()
    return {**record, "exit": code, "said": lines[-1][:200] if code != -signal.SIGKILL and lines else ""}


def case(way: str, root: Path, world: fault_world.World, size: int, moment: float, wanted: str) -> dict[str, Any]:
    """Run out, look, resume with all memory, compare."""
    home = new_home(root, f"case-{time.monotonic_ns()}", world)
    record = run_out(way, home, world, size, moment)
    folder = home / "runs" / fault_world.RUN
    if (folder / "config.json").is_file():
        status = jobs.read_status(folder)
        record |= {"state": status.state, "stage": status.stage, "error": status.error}
    else:
        record |= {"state": "not begun", "stage": "", "error": None}
    age(home)
    record["resumed_exit"] = _ended(scan(home, world))
    left = [path for path in home.rglob(".tmp-*") if path.parent.name != "datasets"]
    record["left_over"] = len(left)
    if left:
        record["left"] = sorted(str(path.relative_to(home)) for path in left)
    record["identical"] = fingerprint(home, world) == wanted
    print(json.dumps(record), file=sys.stderr, flush=True)
    return record


def measure(rounds: int, seed: int, world: fault_world.World) -> dict[str, Any]:
    """All ways, `rounds` times each."""
    chosen = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="faults-memory-") as folder, group() as possible:
        root = Path(folder)
        fault_world.make_source(root / "source", world)
        home = new_home(root, "whole", world)
        started = time.monotonic()
        resident = measured(scan(home, world), "RssAnon")
        seconds = time.monotonic() - started
        wanted = fingerprint(home, world)
        space = measured(scan(new_home(root, "space", world), world), "VmPeak")
        found = []
        for number in range(rounds):
            share = (number + chosen.random()) / rounds  # of the way up, evenly spread
            if possible is not None:
                found.append(case("limit", root, world, int(resident * (0.3 + 0.65 * share)), 0, wanted))
                moment = seconds * (0.2 + 0.75 * share)
                found.append(case("neighbour", root, world, int(2 * resident), moment, wanted))
            found.append(case("address space", root, world, int(space * (0.3 + 0.65 * share)), 0, wanted))
    return {
        "undisturbed": {"seconds": round(seconds, 1), "anonymous_mib": resident // MIB, "address_mib": space // MIB},
        "cgroup": None if possible is None else possible.version,
        "cases": found,
    }


def summary_of(cases: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """For each way: how the scans ended, and how many resumed ones are the undisturbed one."""
    return {
        way: {
            "scans": len(some),
            "killed_by_the_kernel": sum(record["exit"] == -signal.SIGKILL for record in some),
            "ended_with_a_sentence": sum(record["exit"] == 2 for record in some),
            "crashed": sum(record["exit"] not in (0, 2, -signal.SIGKILL) for record in some),
            "had_enough": sum(record["exit"] == 0 for record in some),
            "resumed_identical": sum(record["identical"] for record in some),
            "half_written_files_left": sum(record["left_over"] for record in some),
        }
        for way in dict.fromkeys(record["way"] for record in cases)
        for some in [[record for record in cases if record["way"] == way]]
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    world = fault_world.World()
    load = os.getloadavg()
    found = measure(asked.rounds, asked.seed, world)
    result = {
        "command": f"python -m benchmarks.faults_memory --rounds {asked.rounds} --seed {asked.seed}",
        "seed": asked.seed,
        "world": asdict(world),
        "machine": {**machine(), "load_before": load},
        "versions": runs.versions(),
        "summary": summary_of(found["cases"]),
        **found,
    }
    if asked.out:
        atomic.write_json(asked.out, result)
    print(json.dumps(result["summary"], indent=1))
    return 0 if all(record["identical"] and not record["left_over"] for record in found["cases"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
