"""Ask a service of known weaknesses about the pinned packages: `python scripts/audit.py PIP_AUDIT LOCK_FILE`.

Exit status: 0 nothing is known, or nobody could be asked (which is said); 1 something is known.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SECONDS = 300


def main(program: str, lock: str) -> int:
    text = Path(lock).read_text()
    # One package first: where the service cannot be reached, asking for each of a hundred takes minutes.
    first = re.split(r"\n(?=\S)", text.strip())[-1]
    for part in (first, text):
        found = _ask(program, part)
        if isinstance(found, str):
            print(f"The pinned packages were NOT audited: the service of known weaknesses cannot be asked ({found}).")
            return 0
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    weak = [entry for entry in found if entry.get("vulns")]
    for entry in weak:
        for known in entry["vulns"]:
            fixed = ", ".join(known.get("fix_versions") or []) or "no version yet"
            print(f"{entry['name']} {entry['version']}: {known['id']}, mended in {fixed}")
    print(f"{len(found) - len(skipped)} packages audited, {len(weak)} with known weaknesses.")
    if skipped:
        print(f"{len(skipped)} packages are not known to the service: {', '.join(skipped)}")
    return 1 if weak else 0


def _ask(program: str, text: str) -> list[dict[str, Any]] | str:
    """What is known of each package; a text says why nobody answered."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.txt"
        asked.write_text(text)
        command = [program, "--requirement", str(asked), "--require-hashes", "--disable-pip", "--format", "json"]
        try:
            done = subprocess.run(
                [*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=SECONDS
            )
            found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS} s"
        except (OSError, ValueError, KeyError) as error:
            said = done.stderr.strip().splitlines() if isinstance(error, ValueError) else [str(error)]
            return said[-1][:200] if said else "no answer"
    return found if any("skip_reason" not in entry for entry in found) else "it knows none of the packages"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
