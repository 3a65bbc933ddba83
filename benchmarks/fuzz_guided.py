"""Coverage-guided fuzzing of what our own code parses: `python -m benchmarks.fuzz_guided [--seconds 60] [--seed 1]`.

Needs atheris (Apache-2.0, Linux), which is no dependency of the program: `pip install atheris==3.0.0`. Each group of
`tests.fuzz.guided` runs in a process of its own (`tests.fuzz.guided_worker`), in which the modules of this program are
instrumented: bytes that reach new branches are kept and changed further. Files, programs and connections are watched
as in `benchmarks.fuzz`, with the same limits of time and memory for each case. Most cases end at the first check of a
format; what counts is how many branches were reached, and that nothing went wrong there. Writes
benchmarks/results/fuzz_guided.json, and what went wrong as files below fuzz-findings/; exit status 1 if anything did.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.common import machine
from benchmarks.measure import load
from mspc_core import atomic, runs
from tests.fuzz.guard import ROOT, WALL_SECONDS
from tests.fuzz.guided import GROUPS
from tests.fuzz.worker import CPU_SECONDS, MEMORY

RESULT = ROOT / "benchmarks" / "results" / "fuzz_guided.json"
PAGE = ROOT / "docs" / "limits.md"
FINDINGS = ROOT / "fuzz-findings"
_SHOWN = 4096  # bytes of an input that the result repeats; its file is whole
# As libFuzzer reports: `#123  NEW    cov: 45 ft: 67 corp: 8/90b …`, and at the end `stat::number_of_executed_units: 9`.
_STATE = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_EXECUTED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)


def fuzzed(name: str, folder: Path, seconds: int, seed: int) -> dict[str, Any]:
    """Run one group for so many CPU seconds; what libFuzzer and the driver say."""
    for part in ("case", "home", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    begun = load()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided_worker", name, str(folder), str(seconds), str(seed)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    reached = progress(done.stderr)
    if reached is None:
        raise SystemExit(f"{name}: the fuzzer did not start:\n{done.stderr[-2000:]}")
    said = atomic.read_json(folder / "said.json") if (folder / "said.json").is_file() else {"findings": {}}
    findings = list(said["findings"].values())
    if done.returncode:  # libFuzzer's own, or the system's: a hang, too much memory, a crash of the process
        raw = (folder / "current").read_bytes().hex() if (folder / "current").is_file() else ""
        findings.append({"problem": f"exit status {done.returncode}: {done.stderr[-1500:]}", "input": raw})
    accepted, refused = said.get("accepted", 0), said.get("refused", 0)
    return {
        **reached,
        "refused_share": round(refused / max(1, refused + accepted), 3),
        "cpu_seconds": said.get("cpu_seconds", 0.0),
        "findings": [_kept(name, number, finding) for number, finding in enumerate(findings)],
        "load_at_start_and_end": [begun, load()],
    }


def progress(said: str) -> dict[str, int] | None:
    """Counts out of libFuzzer's messages; None where it did not begin."""
    states = _STATE.findall(said)
    if not states:
        return None
    first = next((state for state in states if state[1] == "INITED"), states[0])
    executed = _EXECUTED.search(said)
    return {
        "executions": int(executed[1] if executed else states[-1][0]),
        "branches_of_the_seeds": int(first[2]),
        "branches": int(states[-1][2]),
        "features": int(states[-1][3]),
        "inputs_kept": int(states[-1][4]),
    }


def table(result: dict[str, Any]) -> str:
    """The result in Markdown, for docs/limits.md."""
    head = [
        "group",
        "CPU seconds",
        "cases",
        "branches of the seeds",
        "in the end",
        "inputs kept",
        "findings",
        "refused",
    ]
    rows = [
        [
            name,
            f"{group['cpu_seconds']:.0f}",
            f"{group['executions']:,}",
            f"{group['branches_of_the_seeds']:,}",
            f"{group['branches']:,}",
            f"{group['inputs_kept']:,}",
            str(len(group["findings"])),
            f"{100 * group['refused_share']:.1f} %",
        ]
        for name, group in result["groups"].items()
    ]
    total = [
        "all",
        f"{result['cpu_seconds']:.0f}",
        f"{result['executions']:,}",
        "",
        "",
        "",
        str(result["findings"]),
        "",
    ]
    return "\n".join([*markdown.head(head), *map(markdown.row, [*rows, total])])


def _kept(name: str, number: int, finding: dict[str, str]) -> dict[str, str]:
    """The finding with its input as a file of its own."""
    FINDINGS.mkdir(exist_ok=True)
    path = FINDINGS / f"{name.replace(' ', '-')}-{number}"
    path.write_bytes(bytes.fromhex(finding["input"]))
    return {**finding, "input": finding["input"][: 2 * _SHOWN], "file": path.relative_to(ROOT).as_posix()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of processor time, for each group")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1, help="groups at the same time")
    parser.add_argument(
        "--only", choices=list(GROUPS), help="measure one group again; the other groups of the result are kept"
    )
    parser.add_argument("--table", action="store_true", help="write the latest result into docs/limits.md, and end")
    asked = parser.parse_args()
    if asked.table:
        page = PAGE.read_text(encoding="utf-8")
        text = markdown.filled(page, "fuzz-guided", table(atomic.read_json(RESULT)))
        atomic.write_bytes(PAGE, text.encode())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("error: this needs atheris, for Linux on x86_64: pip install atheris==3.0.0", file=sys.stderr)
        return 2
    try:
        release = version("atheris")
    except PackageNotFoundError:
        release = "unknown"
    options = f"--seconds {asked.seconds} --seed {asked.seed} --at-once {asked.at_once}"
    options += f" --only {asked.only!r}" if asked.only else ""
    groups: dict[str, dict[str, Any]] = {}
    names = [asked.only] if asked.only else list(GROUPS)
    with tempfile.TemporaryDirectory(prefix="fuzz-guided-") as place, ThreadPoolExecutor(asked.at_once) as pool:

        def one(name: str) -> dict[str, Any]:
            return fuzzed(name, Path(place) / name.replace(" ", "-"), asked.seconds, asked.seed)

        for name, found in zip(names, pool.map(one, names), strict=True):
            groups[name] = {**found, "command": f"python -m benchmarks.fuzz_guided {options}"}
            print(name, json.dumps({**found, "findings": len(found["findings"])}), flush=True)
            for finding in found["findings"]:
                print(f"  {finding['file']}: {finding['problem']}", flush=True)
    if asked.only and RESULT.is_file():
        groups = {**atomic.read_json(RESULT)["groups"], **groups}
    result = {
        "command": f"python -m benchmarks.fuzz_guided {options}",
        "seed": asked.seed,
        "limits": {
            "case_cpu_seconds": CPU_SECONDS,
            "case_wall_seconds": WALL_SECONDS,
            "address_space_growth_mib": MEMORY // 2**20,
        },
        "executions": sum(group["executions"] for group in groups.values()),
        "cpu_seconds": round(sum(group["cpu_seconds"] for group in groups.values()), 1),
        "findings": sum(len(group["findings"]) for group in groups.values()),
        "groups": groups,
        "machine": machine(),
        "versions": {**runs.versions(), "atheris": release},
    }
    atomic.write_json(RESULT, result)
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
