"""Coverage-guided fuzzing of what our own code parses: `python -m benchmarks.fuzz_guided [--seconds 60] [--seed 1]`.

Needs atheris (Apache-2.0, Linux), which is no dependency of the program: `pip install atheris==3.0.0`. Each group of
`tests.fuzz.guided` runs in a process of its own, in which the modules of this program are instrumented: bytes that
reach new branches are kept and changed further. Files, programs and connections are watched as in `benchmarks.fuzz`,
with limits of time and memory for each case. Most cases end at the first check of a format; what counts is how many
branches were reached, and that nothing went wrong there. Writes benchmarks/results/fuzz_guided.json; exit status 1 if
anything was found.
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.measure import load
from mspc_core import atomic, runs
from tests.fuzz.guided import GROUPS, Driver

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "fuzz_guided.json"
CASE_SECONDS, MEMORY_MIB = 30, 4096
# As libFuzzer reports: `#123  NEW    cov: 45 ft: 67 corp: 8/90b …`
_STATE = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)


def inside(name: str, folder: Path, seconds: int, seed: int) -> None:
    """The process that fuzzes; never returns."""
    import atheris  # type: ignore[import-untyped,unused-ignore]

    os.environ["BACKDOOR_LENS_HOME"] = str(folder / "home")
    os.environ.pop("BACKDOOR_LENS_REVIEWS_URL", None)
    with atheris.instrument_imports(include=["mspc_core", "ui"]):
        from tests.fuzz import targets, watch

        targets.warm_up()
        for late in ("mspc_core.export.tables", "mspc_core.maps.store", "mspc_core.report", "mspc_core.retrain.chain"):
            importlib.import_module(late)
        for late in ("ui.filter_query", "ui.inspect_state", "ui.learn_walk", "ui.state"):
            importlib.import_module(late)
    os.fsync = lambda _: None  # type: ignore[assignment]  # durability is tested elsewhere
    guard = watch.Watch([ROOT, folder / "case"], [folder / "home", folder / "tmp"])
    driver = Driver(name, folder, guard.on, lambda: guard.found)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for label, content in driver.group.seeds().items():
        (corpus / re.sub(r"\W", "-", label)).write_bytes(content)

    def one(data: bytes) -> None:
        before = len(driver.findings)
        driver(data)
        if len(driver.findings) > before or sum(driver.counts.values()) % 50 == 0:
            atomic.write_json(folder / "said.json", {**driver.counts, "findings": driver.findings})

    options = {
        "max_total_time": seconds,
        "seed": seed,
        "timeout": CASE_SECONDS,
        "rss_limit_mb": MEMORY_MIB,
        "max_len": 65_536,
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}/",
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], one)
    atheris.Fuzz()


def fuzzed(name: str, folder: Path, seconds: int, seed: int) -> dict[str, Any]:
    """Run one group; what libFuzzer and the driver say."""
    for part in ("case", "home", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    begun = load()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz_guided", "--inside", name, str(folder), str(seconds), str(seed)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    states = _STATE.findall(done.stderr)
    if not states:
        raise SystemExit(f"{name}: the fuzzer did not start:\n{done.stderr[-2000:]}")
    said = atomic.read_json(folder / "said.json") if (folder / "said.json").is_file() else {"findings": {}}
    findings = list(said["findings"].values())
    if done.returncode:  # libFuzzer's own: a hang, too much memory, a crash of the process
        kept = next((path for path in folder.glob("*-*") if path.is_file()), None)
        raw = kept.read_bytes()[:4096].hex() if kept else ""
        findings.append({"problem": f"exit status {done.returncode}: {done.stderr[-1500:]}", "input": raw})
    first, last = (list(map(int, state)) for state in (states[0], states[-1]))
    return {
        "executions": last[0],
        "branches_of_the_seeds": first[1],
        "branches": last[1],
        "features": last[2],
        "inputs_kept": last[3],
        "refused_share": round(said.get("refused", 0) / max(1, said.get("refused", 0) + said.get("accepted", 0)), 3),
        "findings": findings,
        "load_at_start_and_end": [begun, load()],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each group")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(GROUPS))
    parser.add_argument("--inside", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("error: this needs atheris, for Linux: pip install atheris==3.0.0", file=sys.stderr)
        return 2
    if asked.inside:
        name, folder, seconds, seed = asked.inside
        inside(name, Path(folder), int(seconds), int(seed))
    try:
        release = version("atheris")
    except PackageNotFoundError:
        release = "unknown"
    groups = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-guided-") as place:
        for name in [asked.only] if asked.only else GROUPS:
            groups[name] = fuzzed(name, Path(place) / name.replace(" ", "-"), asked.seconds, asked.seed)
            print(name, json.dumps({**groups[name], "findings": len(groups[name]["findings"])}), flush=True)
            for finding in groups[name]["findings"]:
                print(f"  {finding['problem']}\n  {finding['input'][:400]}", flush=True)
    result = {
        "command": f"python -m benchmarks.fuzz_guided --seconds {asked.seconds} --seed {asked.seed}",
        "limits": {"case_seconds": CASE_SECONDS, "memory_mib": MEMORY_MIB},
        "executions": sum(group["executions"] for group in groups.values()),
        "findings": sum(len(group["findings"]) for group in groups.values()),
        "groups": groups,
        "machine": machine(),
        "versions": {**runs.versions(), "atheris": release},
    }
    if not asked.only:
        atomic.write_json(RESULT, result)
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
