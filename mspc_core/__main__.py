import os
import sys

from mspc_core.cli import main
from mspc_core.engine.peers import processes

if __name__ == "__main__":
    status = main()
    if processes() > 1:
        # Connections to processes that are gone cannot be taken down in order: torch would wait for them, or abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
