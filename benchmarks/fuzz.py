"""Thousands of hostile files, folders and links: `python -m benchmarks.fuzz --cases 12000 --seed 1`.

Writes benchmarks/results/fuzz.json: cases for each group, how many were accepted and refused, the slowest, the most
memory. Exit status 1 if anything went wrong; every defect is printed with the traceback of the worker.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from mspc_core import atomic, runs
from tests.fuzz import driving, guard, worker

RESULT = Path(__file__).parent / "results" / "fuzz.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="measure one group again; the other groups of the result are kept")
    asked = parser.parse_args()
    tables: dict[str, Any] = {}
    defects: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, group in driving.groups().items():
            if asked.only in (None, name):
                watched = guard.Guard(Path(folder) / name.replace(" ", "-"))
                started, load = time.time(), os.getloadavg()[0]
                found = driving.drive(name, watched, round(asked.cases * group.share), asked.seed, keep_going=True)
                tables[name] = {
                    **driving.summary(watched.records[name]),
                    "minutes": round((time.time() - started) / 60, 1),
                    "load_before": round(load, 1),
                }
                watched.close()
                defects[name] = found
                print(name, tables[name], *found[:3], sep="\n  ", flush=True)
    if asked.only is not None and RESULT.is_file():
        tables = {**atomic.read_json(RESULT)["groups"], **tables}
    total = sum(table["cases"] for table in tables.values())
    result = {
        "command": f"python -m benchmarks.fuzz --cases {asked.cases} --seed {asked.seed}",
        "seed": asked.seed,
        "cases": total,
        "defects": sum(table["defects"] for table in tables.values()),
        "limits": {"cpu_seconds": worker.CPU_SECONDS, "memory_mib": guard.MEMORY_BYTES // 2**20},
        "groups": tables,
        "machine": machine(),
        "versions": {**runs.versions(), **{name: version(name) for name in ("pyarrow", "safetensors", "hypothesis")}},
    }
    atomic.write_json(RESULT, result)
    print(f"{total} cases, {result['defects']} defects")
    return 1 if result["defects"] else 0


if __name__ == "__main__":
    sys.exit(main())
