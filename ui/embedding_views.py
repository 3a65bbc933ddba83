"""The map of all images as the model sees them: each a dot, near to what looks alike to the model, with a lasso."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.maps import store
from mspc_core.maps.project import stratified
from mspc_core.runs import Run
from ui import cache, evidence, figures_map, filters, map_job, map_lasso, maps, shared_filter, state
from ui.errors import friendly
from ui.filters import View
from ui.map_lasso import OnUse
from ui.map_layers import CLASS, DECISION, SCORE, colourings, layers_of
from ui.text import HELP, count, percent, plural
from ui.theme import PLOTLY_CONFIG

_TITLES = {store.PCA: "PCA", store.UMAP: "UMAP"}


def show(
    run: Run,
    *,
    detector: str | None = None,
    shown: View | None = None,
    selected: str | None = None,
    on_use: OnUse | None = None,
) -> np.ndarray:
    """Draw the map, or what is missing for it. Returns the positions that the lasso holds.

    detector: whose score colours it at first. shown: what passes the shared filter; the other dots are pale. selected:
    the sample that is ringed. on_use: gets the positions when the reader wants to see only them; without it they become
    a part of the shared filter.
    """
    st.header("Map of what the model sees", help=HELP["map"])
    if map_job.missing(run, "which images look alike to it", f"map-job-{run.id}"):
        return np.zeros(0, np.int64)
    map_job.watch(run, f"map-job-{run.id}")
    wanted = shown or shared_filter.view(run)
    ringed = selected or state.selected_sample(run)
    st.fragment(_explore)(run, detector, wanted, ringed, on_use or partial(shared_filter.pick, run))
    return map_lasso.chosen(run)


def _explore(run: Run, detector: str | None, shown: View, selected: str | None, on_use: OnUse) -> None:
    with friendly():
        shared_filter.follow(run, shown, selected)
        scores = cache.scores_of(run)
        kind, by, detector = _controls(run, scores, detector)
        left, right = st.columns([2.1, 1], gap="medium")
        with left:
            _draw(run, scores, kind, by, detector, shown, selected)
        with right:
            map_lasso.lasso(run, scores, detector, selected, on_use)


def _controls(run: Run, scores: pd.DataFrame, detector: str | None) -> tuple[str, str, str]:
    """The kind of map, what colours it, and the detector; UMAP with its button while there is none."""
    names = filters.detector_names(scores.columns)
    first = detector if detector in names else filters.telling_detector(scores)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Map",
            list(_TITLES),
            default=store.PCA,
            format_func=_TITLES.__getitem__,
            required=True,
            key=f"map-kind-{run.id}",
            help=HELP["PCA and UMAP"],
        )
        by = st.segmented_control(
            "Colour", colourings(scores), default=SCORE, required=True, key=f"map-colour-{run.id}"
        )
        if by == SCORE and first is not None:
            first = st.selectbox(
                "Detector",
                names,
                index=names.index(first),
                format_func=filters.title_of,
                key=f"map-detector-{run.id}-{first}",
                width=220,
            )
    if kind == store.UMAP and maps.map_of(run, store.UMAP) is None:
        _offer_umap(run, len(scores))
        kind = store.PCA
    return str(kind), str(by), str(first)


def _offer_umap(run: Run, samples: int) -> None:
    status = map_job.status_of(run)
    if status is not None and status.active:
        st.caption("UMAP takes its place here when it is ready; below is PCA.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        hint = "It runs in the background: you can go on working." if samples > 2000 else None
        map_job.start(run, "Compute UMAP", f"umap-{run.id}", umap=True, hint=hint)
        st.caption("This run has no UMAP yet: it takes about half a minute to two. Below is PCA.", width="content")


def _draw(run: Run, scores: pd.DataFrame, kind: str, by: str, detector: str, shown: View, selected: str | None) -> None:
    found = maps.map_of(run, kind)
    if found is None:
        return
    drawn = _thinned(scores, shown.positions)
    pale = np.setdiff1d(np.arange(len(scores)), shown.positions) if not shown.everything else shown.positions[:0]
    decisions = cache.decisions_of(run) if by == DECISION else {}
    targets = [row.number for row in evidence.class_rows_of(run) if row.target] if by == CLASS else []
    labels = evidence.class_labels(run)
    names = [labels[n] if 0 <= n < len(labels) else f"class {n}" for n in scores["predicted"]] if _few(drawn) else None
    layers = layers_of(scores, drawn, by, detector=detector, labels=labels, first=targets, decisions=decisions)
    key, points = f"map-{run.id}", found.points

    def choose() -> None:
        event = st.session_state[key]
        outlines, clicked = figures_map.outlines_in(event), figures_map.clicked_in(event)
        if clicked is not None and clicked < len(scores):
            state.select_sample(str(scores["sample_id"].iloc[clicked]))
            return
        held = shown.positions[figures_map.inside(points[shown.positions], outlines)]
        st.session_state[f"map-chosen-{run.id}"] = held
        st.session_state[f"map-outlines-{run.id}"] = (kind, outlines if len(held) else [])

    figure = figures_map.map_figure(
        points,
        layers,
        pale[:: max(1, len(pale) // 20_000)],
        axes=_axes(found, kind),
        names=names,
        bar=filters.title_of(detector) if by == SCORE else "",
        marked=cache.position_of(run, selected),
        outlines=_outlines(run, kind, by, detector, shown, selected),
    )
    words = f"The {_TITLES[kind]} map of {plural(len(drawn), 'image')}; what is flagged where is in the table."
    st.plotly_chart(
        figure,
        key=key,
        on_select=choose,
        selection_mode=("points", "box", "lasso"),
        config=PLOTLY_CONFIG,
        alt=words,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(layer_table(layers, scores, points), key=f"{key}-table")
        st.caption(_said(found, kind, len(drawn), len(shown.positions)), width="stretch")


def _few(drawn: np.ndarray) -> bool:
    return len(drawn) <= 20_000


def _thinned(scores: pd.DataFrame, positions: np.ndarray) -> np.ndarray:
    """Positions to draw: all, or a stratified part with everything that the verdict or a detector flags."""
    if len(positions) <= figures_map.MOST_POINTS:
        return positions
    told = filters.suspects_of(scores) if filters.suspects_of(scores).any() else filters.flagged_by_any(scores)
    part = stratified(scores["predicted"].to_numpy()[positions], told[positions], figures_map.MOST_POINTS)
    found: np.ndarray = positions[part]
    return found


def _outlines(
    run: Run, kind: str, by: str, detector: str, shown: View, selected: str | None
) -> list[figures_map.Outline]:
    """Lassos to draw. The browser shows a new one itself, and a figure that changes would be drawn anew and lose its
    zoom; so they are added only when it changes anyway."""
    kept = st.session_state.get(f"map-outlines-{run.id}", ("", []))
    seen = (kind, by, detector, shown.token, selected)
    if st.session_state.get(f"map-seen-{run.id}") != seen:
        st.session_state[f"map-seen-{run.id}"] = seen
        st.session_state[f"map-old-outlines-{run.id}"] = kept
    at, outlines = st.session_state.get(f"map-old-outlines-{run.id}", ("", []))
    return list(outlines) if at == kind else []


def _axes(found: store.Map, kind: str) -> tuple[str, str]:
    if kind == store.UMAP:
        return "", ""
    first, second = (percent(share, 0) for share in found.explained)
    return f"first component ({first} of the variance)", f"second component ({second})"


def _said(found: store.Map, kind: str, drawn: int, passing: int) -> str:
    parts = []
    if drawn < passing:
        parts.append(
            f"{count(drawn)} of {count(passing)} images drawn: all that are flagged, and a part of each class."
        )
    if kind == store.UMAP:
        placed = int((~found.fitted).sum())
        if placed:
            fitted = len(found.fitted) - placed
            parts.append(f"UMAP was made of {count(fitted)} images; the others stand between those most like them.")
        parts.append("Near means alike; distances between groups mean nothing.")
    parts.append("Draw a lasso to see the images in it; click a dot to select its image.")
    return " ".join(parts)


def layer_table(layers: list[figures_map.Layer], scores: pd.DataFrame, points: np.ndarray) -> pd.DataFrame:
    """One row a group of dots: how many, how many suspects, and where it lies."""
    suspects = filters.suspects_of(scores)
    return pd.DataFrame(
        [
            {
                "group": layer.name,
                "images drawn": len(layer.positions),
                "suspects": int(suspects[layer.positions].sum()),
                "middle across": round(float(points[layer.positions, 0].mean()), 3),
                "middle up": round(float(points[layer.positions, 1].mean()), 3),
            }
            for layer in layers
        ]
    )
