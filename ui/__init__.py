"""What the pages share.

Threads of torch that spin while they wait for each other made answers ten times slower when a scan had the cores; they
sleep instead. Read by OpenMP when torch is imported, which is after this.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
