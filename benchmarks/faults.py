"""Kill -9 in the middle of importing, training, scanning, exporting and reviewing; restart; compare with an undisturbed
run, bit by bit.

    python -m benchmarks.faults [--kills 100] [--seed 0] [--out benchmarks/results/faults.json]
    python -m benchmarks.faults --points --activities scan,export      a kill at every atomic write, one after the other

Everything that computes runs in a child that is forked from here, where torch is imported and nothing has run yet.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("BACKDOOR_LENS_PRECISION", "float32")

# Imported before the first fork: each child has them then, and starts at once.
_NEEDED = (
    "torch._dynamo",  # torch.optim imports it
    "pandas",
    "PIL.PngImagePlugin",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "rich.progress",
    "sklearn.decomposition",
    "sklearn.metrics",
    "sklearn.mixture",
    "sqlalchemy.dialects.sqlite",
    "mspc_core.data.importing",
    "mspc_core.detectors.mixture",
    "mspc_core.detectors.spectral_signatures",
    "mspc_core.detectors.spc",
    "mspc_core.export.work",
    "mspc_core.maps.project",
    "mspc_core.retrain.job",
    "mspc_core.reviews.store",
    "mspc_core.scanning",
)
_LEAST = 0.15  # seconds: a shorter activity is killed somewhere in so long
_REPEATS = 2  # undisturbed runs
_TWICE = 4  # every so many kills, the restart is killed as well


@dataclass(frozen=True)
class Ended:
    """A child: its exit status (None: killed), what it returned, how long it took."""

    code: int | None
    result: dict[str, Any]
    seconds: float


def fork(
    place: Path, work: Callable[[], dict[str, Any]], *, kill_after: float | None = None, kill_at: int | None = None
) -> Ended:
    """Run `work` in a child with `place`/home as its home folder. kill_after: seconds. kill_at: kills itself right
    before its so-many-th atomic write takes its place (from 1; the status of a job does not count)."""
    result = place / "result.json"
    result.unlink(missing_ok=True)
    begun = time.monotonic()
    child = os.fork()
    if not child:
        _in_child(place, work, result, kill_at)
    deadline = None if kill_after is None else begun + kill_after
    killed = False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        if deadline is not None and time.monotonic() >= deadline and not killed:
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.001)
    seconds = time.monotonic() - begun
    if os.WIFSIGNALED(status):
        return Ended(None, {}, seconds)
    return Ended(os.WEXITSTATUS(status), json.loads(result.read_text()) if result.is_file() else {}, seconds)


def _in_child(place: Path, work: Callable[[], dict[str, Any]], result: Path, kill_at: int | None) -> None:
    code = 1
    try:
        os.environ["BACKDOOR_LENS_HOME"] = str(place / "home")
        output = os.open(place / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if kill_at is not None:
            _kill_at(kill_at)
        found = work()
        result.write_text(json.dumps(found))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _kill_at(number: int) -> None:
    """Kill this process at its so-many-th renaming (what was written is complete, and has not got its name yet) or
    commit to a database."""
    from sqlalchemy import Engine, event

    left = number

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", count)

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Any, target: Any, **options: Any) -> None:
            if Path(target).name != "status.json":
                count()
            real(source, target, **options)

        return renamed

    os.replace, os.rename = dying(os.replace), dying(os.rename)


class Lab:
    """A folder with the source and one prepared home for each activity, copied for each case."""

    def __init__(self, root: Path, world: Any) -> None:
        from benchmarks import fault_world

        self.root, self.world, self.does = root, world, fault_world
        self.source = root / "source"
        fault_world.make_source(self.source, world)
        blank = self._prepared("blank", None)
        stored = self._prepared("stored", blank, "import")
        scanned = self._prepared("scanned", stored, "scan")
        self.homes = {"import": blank, "scan": stored, "training": scanned, "export": scanned, "review": scanned}

    def _prepared(self, name: str, before: Path | None, activity: str = "") -> Path:
        place = self.root / name
        if before is None:
            (place / "home").mkdir(parents=True)
            return place
        shutil.copytree(before, place)
        case = self._case(place, {})
        ended = fork(place, lambda: self.does.begin(activity, case, self.world))
        if ended.code or ended.result.get("exit"):
            raise SystemExit((place / "output.txt").read_text()[-3000:])
        return place

    def case(self, activity: str, **more: str) -> tuple[Path, dict[str, Any]]:
        place = Path(tempfile.mkdtemp(prefix=f"{activity}-", dir=self.root))
        shutil.copytree(self.homes[activity] / "home", place / "home")
        return place, self._case(place, more)

    def _case(self, place: Path, more: dict[str, str]) -> dict[str, Any]:
        suffix = {"zip": ".zip", "csv": ".csv", "parquet": ".parquet"}.get(more.get("format", ""), "")
        (place / "told.txt").touch()
        return {"folder": str(place), "source": str(self.source), "target": str(place / f"export{suffix}"), **more}

    def undisturbed(self, activity: str, **more: str) -> tuple[str, float]:
        """Fingerprint and seconds without any fault; several times, to see that they agree."""
        prints, seconds = set(), []
        for _ in range(_REPEATS):
            place, case = self.case(activity, **more)
            seconds.append(self._begin(place, activity, case).seconds)
            prints.add(self._ask(place, self.does.fingerprint, activity, case)["value"])
            shutil.rmtree(place)
        if len(prints) > 1:
            raise SystemExit(f"{activity} gives different results without any fault")
        return prints.pop(), statistics.median(seconds)

    def interrupted(
        self, activity: str, expected: str, kills: list[dict[str, Any]], more: dict[str, str]
    ) -> dict[str, Any] | None:
        """One case: the kills one after the other, then a restart to the end. None if it had ended before the kill."""
        place, case = self.case(activity, **more)
        record: dict[str, Any] = {"activity": activity, **more, "kills": []}
        problems = []
        for kill in kills:
            ended = self._begin(place, activity, case, **kill)
            if ended.code is not None:
                if not record["kills"]:
                    shutil.rmtree(place)
                    return None
                break
            seen = self._ask(place, self.does.look, activity, case)
            record["kills"].append({"seconds": round(ended.seconds, 3), **kill, **seen})
            problems += [seen["problem"]] if "problem" in seen else []
            age(place)
        ended = self._begin(place, activity, case)
        said = ended.result
        problems += [] if ended.code == 0 and said.get("exit") == 0 else [(place / "output.txt").read_text()[-600:]]
        after = self._ask(place, self.does.fingerprint, activity, case)
        problems += [after["problem"]] if "problem" in after else []
        record |= {"restart": {**said, "seconds": round(ended.seconds, 3)}, "identical": after.get("value") == expected}
        left = [path.name for path in place.rglob(".tmp-*")]
        record |= {"left_over": len(left), "problems": problems}
        shutil.rmtree(place)
        return record

    def _begin(self, place: Path, activity: str, case: dict[str, Any], **kill: Any) -> Ended:
        return fork(place, lambda: self.does.begin(activity, case, self.world), **kill)

    def _ask(self, place: Path, question: Callable[..., Any], activity: str, case: dict[str, Any]) -> dict[str, Any]:
        def asked() -> dict[str, Any]:
            found = question(activity, case, self.world)
            return found if isinstance(found, dict) else {"value": found}

        ended = fork(place, asked)
        return ended.result if ended.code == 0 else {"problem": (place / "output.txt").read_text()[-600:]}


def age(place: Path) -> None:
    """Half-written files are taken away once they are some seconds old; a person restarts later than we do here."""
    for path in place.rglob(".tmp-*"):
        os.utime(path, (0, 0))


def random_kills(lab: Lab, activities: list[str], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` kills in all, spread evenly, at moments that the seed draws."""
    generator = random.Random(seed)
    records: list[dict[str, Any]] = []
    known: dict[tuple[str, str], tuple[str, float]] = {}
    for number, activity in enumerate(activities):
        share = count // len(activities) + (number < count % len(activities))
        done = tries = 0
        while done < share:
            kind = lab.does.FORMATS[tries % len(lab.does.FORMATS)] if activity == "export" else ""
            more = {"format": kind} if kind else {}
            if (activity, kind) not in known:
                known[activity, kind] = lab.undisturbed(activity, **more)
            expected, seconds = known[activity, kind]
            tries += 1
            often = min(2 if tries % _TWICE == 0 else 1, share - done)
            moments = [{"kill_after": generator.uniform(0, max(_LEAST, seconds))} for _ in range(often)]
            record = lab.interrupted(activity, expected, moments, more)
            if record is None:
                continue  # it was faster than usual, and nothing was killed
            record["undisturbed_seconds"] = round(seconds, 3)
            records.append(record)
            done += len(record["kills"])
            _tell(record)
    return records


def every_point(lab: Lab, activities: list[str], stride: int) -> list[dict[str, Any]]:
    """For each activity: killed at its first atomic write, at its second one, … until there are no more. stride: only
    every so many of them."""
    records = []
    for activity in activities:
        for kind in ("folder", "csv") if activity == "export" else ("",):
            more = {"format": kind} if kind else {}
            expected, _ = lab.undisturbed(activity, **more)
            number = 1
            while (record := lab.interrupted(activity, expected, [{"kill_at": number}], more)) is not None:
                records.append(record)
                _tell(record)
                number += stride
    return records


def _tell(record: dict[str, Any]) -> None:
    good = record["identical"] and not record["problems"] and not record["left_over"]
    last = record["kills"][-1]
    moment = f"{last['seconds']:.2f} s" if "kill_at" not in last else f"write {last['kill_at']}"
    print(
        f"{'ok ' if good else 'BAD'} {record['activity']}: {moment}, {last.get('stage')}", file=sys.stderr, flush=True
    )
    for problem in record["problems"]:
        print(problem, file=sys.stderr)


def summary_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    """How many kills, and of how many restarts the result was the undisturbed one."""
    return {
        "kills": sum(len(record["kills"]) for record in records),
        "restarts": len(records),
        "identical": sum(record["identical"] for record in records),
        "with_problems": sum(bool(record["problems"]) for record in records),
        "half_written_files_left": sum(record["left_over"] for record in records),
        "kills_by_activity": {
            name: sum(len(record["kills"]) for record in records if record["activity"] == name)
            for name in dict.fromkeys(record["activity"] for record in records)
        },
    }


def main() -> int:
    from benchmarks.common import machine
    from benchmarks.fault_world import ACTIVITIES, World
    from mspc_core.runs import versions

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--activities", default=",".join(ACTIVITIES))
    parser.add_argument("--points", action="store_true", help="Kill at every atomic write instead.")
    parser.add_argument("--stride", type=int, default=1, help="With --points: only every so many writes.")
    parser.add_argument("--small", action="store_true", help="As the tests do: fewer and smaller images.")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    world = World(images=96, size=16, epochs=1, detectors="spc,mixture", decisions=20) if chosen.small else World()
    import torch

    for name in _NEEDED:
        importlib.import_module(name)
    torch.set_num_threads(1)
    activities = chosen.activities.split(",")
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        lab = Lab(Path(root), world)
        records = (
            every_point(lab, activities, chosen.stride)
            if chosen.points
            else random_kills(lab, activities, chosen.kills, chosen.seed)
        )
    found = {
        "command": "python -m benchmarks.faults " + " ".join(sys.argv[1:]),
        "machine": {**machine(), "load": os.getloadavg()},
        "versions": versions(),
        "seed": chosen.seed,
        "world": asdict(world),
        "summary": summary_of(records),
        "cases": records,
    }
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if chosen.out:
        chosen.out.write_text(text)
    else:
        print(text)
    print(json.dumps(found["summary"]), file=sys.stderr)
    bad = any(not record["identical"] or record["problems"] for record in records)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
