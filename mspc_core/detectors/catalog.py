"""What people are told of each detector, in one place: the picker, the panels and the tables read it without torch.

`title`, `citation` and `needs` of a detector class are taken from here. An entry stands in the file of its family:
`facts_ours`, `facts_scaling`, `facts_baselines`.
"""

from __future__ import annotations

from mspc_core.detectors import REGISTRY
from mspc_core.detectors.facts import Facts
from mspc_core.detectors.facts_baselines import BASELINES
from mspc_core.detectors.facts_ours import OURS
from mspc_core.detectors.facts_scaling import SCALING

_KNOWN = {**OURS, **SCALING, **BASELINES}
CATALOG: dict[str, Facts] = {name: _KNOWN[name] for name in REGISTRY}  # in the order of the registry
