"""What a process that does not lead does in the steps of a scan (`mspc_core.following`): its part of the passes.

It decides nothing and writes nothing but its part of the features. What it computes beside its part (the statistics
that a detector works out from the features of all samples) is the same as the leader's, and dropped.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from mspc_core import obstacles
from mspc_core.engine import distributed
from mspc_core.engine.device import choose_threads, give_back_freed_memory, resolve_device
from mspc_core.engine.forward import allow_half, predict_logits
from mspc_core.engine.plain import sharing
from mspc_core.maps.features import keep_part
from mspc_core.models.zoo import ModelSpec, Normalised, build_model
from mspc_core.runs import Run
from mspc_core.scan_model import measured, train_here
from mspc_core.scanning import detector_of, pixels_of, samples_of


class Part:
    """The state that a follower keeps between steps: the data, and the model once there is one."""

    def __init__(self, folder: Path) -> None:
        self.run = Run(folder)
        self.model: Normalised | None = None
        self._loaded = False
        self._shared: ExitStack | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Take part in the step that the leader announced."""
        if not self._loaded:
            self._load()
        name = message["step"]
        if name == "train":
            self.model = train_here(
                self.run, self.config, self.dataset, self.images, self.labels, self.device, None, None
            )[0]
        elif name == "model":
            if self.model is None:
                self.model = build_model(ModelSpec.from_json(message["spec"])).to(self.device)
            distributed.model_from_leader(self.model.eval())
        elif self.model is None:
            raise RuntimeError(f"There is no model yet for the step {name!r}.")
        elif name == "measure":
            measured(self.model, self.dataset, self.images, self.labels, [])
        elif name == "table":
            allow_half(self.model, message["half"])
            with keep_part(self.run, self.model) if message["keep"] else nullcontext():
                predict_logits(self.model, self.images)
        elif name == "detector":
            if self._shared is None:  # as the leader, who shares from its first detector on
                self._shared = ExitStack()
                self._shared.enter_context(sharing(self.model, self.images))
            give_back_freed_memory()  # as the leader does
            detector_of(self.config, message["detector"]).fit(
                self.model, self.images, labels=self.labels, clean=self.clean
            )
        else:
            raise RuntimeError(f"This process does not know the step {name!r}: are all of the same version?")

    def _load(self) -> None:
        """The data, once the leader has it: before the first step it may still be imported."""
        self.config = self.run.config()
        self.device = resolve_device(self.config.device)
        choose_threads(self.config.threads, self.device)
        self.dataset = self.run.dataset()
        self.rows, self.labels = samples_of(self.run, self.config, self.dataset)
        self.images = pixels_of(self.dataset, self.rows)
        self.clean = obstacles.clean_data(self.dataset, self.rows, self.config.trusted, self.config.seed)
        self._loaded = True
