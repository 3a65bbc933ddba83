import os
import sys

# Before torch is loaded: threads that wait should sleep instead of burning the core that another thread needs. Two that
# burn were ten times as slow as one on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from mspc_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
