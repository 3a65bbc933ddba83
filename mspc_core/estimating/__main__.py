"""`python -m mspc_core.estimating`: a scan's configuration as JSON on standard input, its estimate as JSON on standard
output. A process of its own, so that whoever asks keeps its memory and its threads."""

from __future__ import annotations

import json
import sys

from mspc_core.errors import EXIT_BAD_INPUT, InputError
from mspc_core.runs import ScanConfig


def main() -> int:
    raw = json.load(sys.stdin)
    config = ScanConfig(**{**raw, "detectors": tuple(raw["detectors"])})
    from mspc_core.estimating.estimate import data_of, estimate

    try:
        found = estimate(config, data_of(config))
    except InputError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    print(json.dumps(found.as_json()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
