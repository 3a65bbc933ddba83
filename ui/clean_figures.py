"""Figures and tables of a retraining: learning curves, before against after, classes, removed samples. No streamlit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ui.text import percent, short
from ui.theme import NEUTRAL, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# Told apart by dash and mark as well as by colour.
_STYLES = {
    "before": {"color": NEUTRAL, "dash": "dash", "symbol": "circle"},
    "after": {"color": "#3987C4", "dash": "solid", "symbol": "diamond"},
}
_MARKED = 20  # epochs up to which every point gets a mark


def curves_figure(curves: dict[str, Any], height: int = 300) -> go.Figure:
    """Training loss and accuracy over the epochs, before (dashed) and after (solid), side by side.

    curves: of retrain.json; `before` is None where the scan did not train its model.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, subplot_titles=("training loss", "training accuracy"))
    for name, style in _STYLES.items():
        curve = curves.get(name)
        if not curve:
            continue
        for column, key in enumerate(("loss", "accuracy"), start=1):
            epochs = list(range(1, len(curve[key]) + 1))
            figure.add_scatter(
                x=epochs,
                y=curve[key],
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                mode="lines+markers" if len(epochs) <= _MARKED else "lines",
                line={"color": style["color"], "dash": style["dash"], "width": 2.5},
                marker={"symbol": style["symbol"], "size": 7},
                hovertemplate=f"epoch %{{x}}<br>{key} %{{y:.4f}}<extra>{name}</extra>",
                row=1,
                col=column,
            )
    layout = figure_layout(height)
    axis = layout.pop("xaxis")
    layout.pop("yaxis")
    layout["legend"] |= {"y": 1.14}
    layout["margin"] |= {"t": 56}
    figure.update_layout(**layout)
    figure.update_xaxes(title="epoch", **axis)
    figure.update_yaxes(rangemode="tozero", **axis)
    figure.update_yaxes(tickformat=".0%", row=1, col=2)
    return figure


def curves_table(curves: dict[str, Any]) -> pd.DataFrame:
    """The same numbers: one row an epoch."""
    import pandas as pd

    columns = {}
    for name in _STYLES:
        for key in ("loss", "accuracy"):
            if curves.get(name):
                columns[f"{key} {name}"] = pd.Series(curves[name][key])
    table = pd.DataFrame(columns)
    table.insert(0, "epoch", range(1, len(table) + 1))
    return table


def comparison_table(result: dict[str, Any]) -> pd.DataFrame:
    """One row a training: before, after, and the reference lines that were computed; shares as text with ± of seeds."""
    import pandas as pd

    references, estimated = result["references"], result["estimated_asr"]
    rows: list[dict[str, Any]] = []
    for name, figures, guess in (
        ("Before: the scan's model", result["before"], estimated["before"]),
        ("After", result["after"], estimated["after"]),
        ("Reference: everything", references["everything"], None),
        ("Reference: truly clean part", references["clean_part"], None),
    ):
        if figures:
            rows.append(
                {
                    "model": name,
                    "images": figures.get("images"),
                    "accuracy": with_deviation(figures, "accuracy"),
                    "attack success": with_deviation(figures, "attack_success_rate"),
                    "estimated attack success": "–" if guess is None else percent(guess),
                    "trainings": len(figures["by_seed"]),
                }
            )
    table = pd.DataFrame(rows).astype({"images": "Int64"})  # own weights: nobody knows how many
    unknown = [name for name in ("attack success", "estimated attack success") if (table[name] == "–").all()]
    return table.drop(columns=unknown)


def with_deviation(figures: dict[str, Any], key: str) -> str:
    """ "98.5 % ± 0.7 %", or "–"."""
    value, deviation = figures[key], (figures.get("sd") or {}).get(key)
    if value is None:
        return "–"
    return percent(value) + (f" ± {100 * deviation:.1f} %" if deviation is not None else "")


def class_table(result: dict[str, Any]) -> pd.DataFrame:
    """One row a class: what was removed, and its held-out accuracy before and after."""
    import pandas as pd

    before, after = (result[name]["per_class_accuracy"] for name in ("before", "after"))
    rows = []
    for row in result["classes"]:
        was, now = before.get(row["name"]), after.get(row["name"])
        rows.append(
            {
                "class": short(row["name"], 60),
                "images": row["images"],
                "removed": row["dropped"],
                "before": was,
                "after": now,
                "change": None if was is None or now is None else 100 * (now - was),
            }
        )
    return pd.DataFrame(rows)


def transitions_table(removed: dict[str, Any]) -> pd.DataFrame:
    """Label of the removed samples → what the new model says of them."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"label": short(row["label"], 60), "new model says": short(row["predicted"], 60), "images": row["count"]}
            for row in removed["transitions"]
        ]
    )


def triggers_table(estimated: dict[str, Any]) -> pd.DataFrame:
    """Each reconstructed trigger and how many held-out images it turns."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "target": short(row["name"], 60),
                "trigger": row["words"],
                "tried on": row["images"],
                "before": row["before"],
                "after": row["after"],
                "without trigger": row["without_trigger"],
            }
            for row in estimated.get("triggers") or []
        ]
    )


def chain_table(links: list[Any], words: dict[str, str], shown: str) -> pd.DataFrame:
    """One row a run of the chain. words: level → what it is called; shown: id of the run that is looked at."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "round": place,
                "run": short(link.id, 60) + (" (this one)" if link.id == shown else ""),
                "left out before": link.dropped,
                "scanned": link.scanned,
                "suspects": link.flagged,
                "verdict": words.get(link.level, link.level),
                "accuracy": link.accuracy,
                "attack success": link.attack_success_rate,
                "known trigger still turns": link.estimated,
            }
            for place, link in enumerate(links, start=1)
        ]
    )
