"""A process that opens hostile files, one case after the other: `python -m tests.fuzz.worker FOLDER`.

FOLDER/home is where the product keeps its data and FOLDER/case where the case's files lie; nothing else may be touched.
Requests are JSON lines on standard input, answers JSON lines on standard output.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CPU_SECONDS = 30
MEMORY = 3 * 2**30


def main(folder: Path, *, bare: bool) -> None:
    os.environ["BACKDOOR_LENS_HOME"] = str(folder / "home")
    os.environ.pop("BACKDOOR_LENS_REVIEWS_URL", None)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    from tests.fuzz import targets, watch

    if not bare:
        targets.warm_up()
    os.fsync = lambda _: None  # type: ignore[assignment]  # durability is tested elsewhere
    root = Path(__file__).resolve().parents[2]
    guard = watch.Watch([root, folder / "case"], [folder / "home", folder / "tmp"])
    watch.limit_memory(MEMORY)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        watch.limit_cpu(request["options"].get("cpu_seconds", CPU_SECONDS))
        print(json.dumps(_one(request, folder, guard)), file=answers, flush=True)


def _one(request: dict[str, Any], folder: Path, guard: Any) -> dict[str, Any]:
    from mspc_core.errors import InputError
    from tests.fuzz import targets, watch

    target = targets.TARGETS[request["target"]]
    watch.forget_peak()
    before, cpu, wall = watch.resident_bytes(), _cpu(), time.monotonic()
    outcome, detail = "accepted", ""
    try:
        with guard.on():
            target(folder / "case", request.get("options", {}))
    except InputError as error:
        outcome, detail = "refused", str(error)
        if problem := targets.bad_sentence(detail):
            outcome, detail = "defect", f"{problem}: {detail[:300]!r}"
    except BaseException:
        outcome, detail = "defect", traceback.format_exc(limit=-6)
    if guard.found:
        outcome, detail = "defect", f"forbidden: {guard.found[:3]}"
    answer = {
        "outcome": outcome,
        "detail": detail[-3000:],
        "cpu_seconds": _cpu() - cpu,
        "wall_seconds": time.monotonic() - wall,
        "memory_bytes": max(0, watch.peak_bytes() - before),
    }
    left = [path.name for path in (folder / "home").glob("*/.tmp-*")]
    if left and outcome != "defect":
        answer |= {"outcome": "defect", "detail": f"left behind: {left[:3]}"}
    if not request.get("keep_home"):
        shutil.rmtree(folder / "home", ignore_errors=True)
    return answer


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]), bare="bare" in sys.argv[2:])
