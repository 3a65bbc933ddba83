import os
import sys

# Before torch is loaded: threads that wait should sleep instead of burning the core that another thread needs. Two that
# burn were ten times as slow as one on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

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
