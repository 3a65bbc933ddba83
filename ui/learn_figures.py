"""The lesson's own figure: what was written down while the model trained. Free of streamlit but for caches below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.files import read_arrays, read_object
from mspc_core.runs import Run
from ui import cache, filters
from ui.theme import BACKDOOR, CLEAN, NEUTRAL, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class EarlyLosses:
    """means: (poisoned, clean) mean loss in each of the first epochs, as each image was met in it."""

    means: list[tuple[float, float]]


@dataclass(frozen=True)
class Training:
    """loss, accuracy: on the training images, by epoch; accuracy means agreement with the labels, wrong ones "
    "included."""

    loss: list[float]
    accuracy: list[float]
    early: EarlyLosses | None

    @property
    def epochs(self) -> int:
        return len(self.accuracy)


def early_losses(run: Run) -> EarlyLosses | None:
    """Mean losses of poisoned and clean images in the first epochs; None where they or the truth are not recorded."""
    scores = cache.scores_of(run)
    truth = filters.known_truth(scores)
    if truth is None or truth.all() or not truth.any():
        return None
    try:
        losses = np.asarray(read_arrays(run.folder / "early_losses.npz")["losses"], dtype=float)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if losses.ndim != 2 or losses.shape[1] != len(truth) or not len(losses) or not np.isfinite(losses).all():
        return None
    return EarlyLosses([(float(row[truth].mean()), float(row[~truth].mean())) for row in losses])


def training_of(run: Run) -> Training | None:
    """What was recorded of the run's training; None where the model was not trained here."""
    try:
        about = read_object(run.folder / "model.json")
        loss = [float(value) for value in about["train_loss"]]
        accuracy = [float(value) for value in about["train_accuracy_per_epoch"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Training(loss, accuracy, early_losses(run)) if accuracy and len(loss) == len(accuracy) else None


def training_figure(found: Training, until: int, height: int = 300) -> go.Figure:
    """Left: accuracy on the training labels. Right: loss, of poisoned and clean images apart where that is recorded.

    until: epochs after it are not drawn yet.
    """
    from plotly.subplots import make_subplots

    titles = ("agreement with the training labels", "mean loss" if found.early else "mean loss of all images")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles)
    lines: list[tuple[str, list[float], str, str, int]] = [("all images", found.accuracy, NEUTRAL, "solid", 1)]
    if found.early:
        poisoned, clean = zip(*found.early.means, strict=True)
        lines += [
            ("poisoned images", list(poisoned), BACKDOOR, "solid", 2),
            ("clean images", list(clean), CLEAN, "dash", 2),
        ]
    else:
        lines.append(("all images", found.loss, NEUTRAL, "solid", 2))
    for name, values, colour, dash, column in lines:
        drawn = values[:until]
        figure.add_scatter(
            x=list(range(1, len(drawn) + 1)),
            y=drawn,
            name=name,
            mode="lines+markers",
            showlegend=column == 2,
            line={"color": colour, "dash": dash, "width": 2.5},
            marker={"size": 7, "symbol": "diamond" if dash == "dash" else "circle"},
            hovertemplate="epoch %{x}: " + ("%{y:.1%}" if column == 1 else "%{y:.4f}") + f"<extra>{name}</extra>",
            row=1,
            col=column,
        )
    layout = figure_layout(height)
    axis = layout.pop("xaxis")
    layout.pop("yaxis")
    layout["legend"] = {"x": 1.0, "y": 0.98, "xanchor": "right", "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"}
    layout["margin"] |= {"t": 36}
    figure.update_layout(**layout)
    figure.update_xaxes(title="epoch", range=[0.5, found.epochs + 0.5], dtick=max(1, found.epochs // 12), **axis)
    figure.update_yaxes(**axis)
    figure.update_yaxes(tickformat=".0%", range=[0, 1.05], row=1, col=1)
    highest = max([*found.loss, *(value for pair in (found.early.means if found.early else []) for value in pair)])
    figure.update_yaxes(range=[0, 1.08 * max(highest, 1e-6)], row=1, col=2)
    return figure


def training_table(found: Training) -> pd.DataFrame:
    """The same numbers, one row an epoch."""
    import pandas as pd

    columns: dict[str, Any] = {
        "epoch": range(1, found.epochs + 1),
        "agreement with labels": pd.Series(found.accuracy),
        "loss, all": pd.Series(found.loss),
    }
    if found.early:
        columns["loss, poisoned"] = pd.Series([pair[0] for pair in found.early.means])
        columns["loss, clean"] = pd.Series([pair[1] for pair in found.early.means])
    return pd.DataFrame(columns).round(4)
