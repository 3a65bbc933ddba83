"""The process that fuzzes one group: `python -m tests.fuzz.guided_worker GROUP FOLDER CPU_SECONDS SEED`; needs atheris.

Nothing of the program may be imported before it is instrumented, so this file imports only the standard library.
FOLDER/home is where the product keeps its data and FOLDER/case where a case's files lie, as in `tests.fuzz.worker`.
Writes FOLDER/said.json; ends by libFuzzer's own exit.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOWER = 20  # wall seconds for each CPU second, at most: other programs may hold the processor
_LIBRARIES = ("torch", "torchvision", "pandas", "pyarrow.parquet", "safetensors.torch", "sqlalchemy", "streamlit")
_UNPICKLER = "torch._weights_only_unpickler"
# Loaded before the first case: what an import reads is not what a case reads.
_LATE = (
    *("export.tables", "export.plan", "maps.store", "report", "retrain.chain", "retrain.confirmed", "retrain.kept"),
    *("reviews.address", "reviews.evidence", "reviews.store", "selection", "serving", "words", "cli_data", "picks"),
)
_PAGES = ("filter_query", "inspect_state", "learn_walk", "login", "state", "text")


def words_file(folder: Path, words: str) -> Path:
    """libFuzzer's dictionary: one quoted word a line; words are separated by spaces and may hold \\x escapes."""
    found = words.encode("ascii", "ignore").decode("unicode_escape").encode("latin-1")
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in found.split(b" ") if word]
    path = folder / "words.txt"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def main(name: str, folder: Path, seconds: int, seed: int) -> None:
    import atheris  # type: ignore[import-not-found,unused-ignore]

    os.environ["BACKDOOR_LENS_HOME"] = str(folder / "home")
    os.environ.pop("BACKDOOR_LENS_REVIEWS_URL", None)
    for library in _LIBRARIES:  # before: watching their imports would take most of a minute
        importlib.import_module(library)
    with atheris.instrument_imports(include=["mspc_core", "ui", _UNPICKLER]):
        from tests.fuzz import guard, guided, targets, watch, worker

        # What torch reads weights with decides in Python what may be run, so its branches count too.
        del sys.modules[_UNPICKLER]
        sys.modules["torch.serialization"]._weights_only_unpickler = importlib.import_module(_UNPICKLER)  # type: ignore[attr-defined]
        targets.warm_up()
        for late in (*(f"mspc_core.{part}" for part in _LATE), *(f"ui.{part}" for part in _PAGES)):
            importlib.import_module(late)
    os.fsync = lambda _: None  # type: ignore[assignment]  # durability is tested elsewhere
    watched = watch.Watch([ROOT, folder / "case"], [folder / "home", folder / "tmp"])
    driver = guided.Driver(name, folder, watched.on, lambda: watched.found)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for label, content in driver.group.seeds().items():
        (corpus / re.sub(r"\W", "-", label)).write_bytes(content)
    watch.limit_memory(worker.MEMORY)
    begun = time.process_time()
    told, tell_at = -1, 0.0

    def one(data: bytes) -> None:
        nonlocal told, tell_at
        (folder / "current").write_bytes(data)
        watch.limit_cpu(worker.CPU_SECONDS)
        driver(data)
        now = time.process_time() - begun
        if len(driver.findings) != told or now >= min(tell_at, seconds):
            told, tell_at = len(driver.findings), now + 1
            said = {**driver.counts, "findings": driver.findings, "cpu_seconds": round(now, 1)}
            (folder / "said.new").write_text(json.dumps(said))
            (folder / "said.new").replace(folder / "said.json")
        if now >= seconds:
            os.kill(os.getpid(), signal.SIGUSR1)  # libFuzzer ends after this case, and says so

    options = {
        "max_total_time": seconds * SLOWER,
        "seed": seed,
        "timeout": guard.WALL_SECONDS,
        "rss_limit_mb": 4096,
        "max_len": 65_536,
        "len_control": 20,
        "print_final_stats": 1,
        "dict": words_file(folder, driver.group.words),
        "artifact_prefix": f"{folder}/",
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
