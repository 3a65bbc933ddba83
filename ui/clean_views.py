"""The lower half of Clean & retrain: before and after, learning curves, removed samples, the chain of runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from mspc_core import jobs, selection
from mspc_core.errors import InputError
from mspc_core.retrain import chain
from mspc_core.retrain.config import Retraining
from mspc_core.runs import Run
from ui import clean_figures, evidence, state
from ui.job_panel import job_panel
from ui.text import HELP, count, percent, plain, plural, when
from ui.theme import LEVELS, PLOTLY_CONFIG

_MOST_ROWS = 12


def choose_retraining(run: Run, found: list[Retraining]) -> Retraining:
    """The newest retraining, or another one that the user picks."""
    if len(found) == 1:
        st.caption(f":material/model_training: {plain(label_of(found[0]), 200)}")
        return found[0]
    by_id = {retraining.id: retraining for retraining in found}
    key = f"retraining-{run.id}"
    if st.session_state.get(key) not in by_id:
        st.session_state[key] = found[0].id
    chosen = st.selectbox("Retraining", list(by_id), key=key, format_func=lambda name: label_of(by_id[name]))
    return by_id[chosen]


def label_of(retraining: Retraining) -> str:
    """rule · time · state, as plain text."""
    try:
        config, status = retraining.config(), retraining.status()
    except InputError:
        return f"{retraining.id} · not readable"
    seeds = f" · {len(config.seeds)} trainings" if len(config.seeds) > 1 else ""
    return f"{describe(config.drop)}{seeds} · {when(status.created)} · {state.state_words(status)}"


def describe(drop: str) -> str:
    """The rule in words, also of one that a newer version wrote."""
    try:
        selection.check_rule(drop)
    except InputError:
        return drop
    return f"without {selection.describe(drop)}"


def show_retraining(retraining: Retraining) -> None:
    """A retraining in whichever state it is: at work, stopped, or with its figures."""
    status = retraining.status()
    if status.state != "finished":
        job_panel(retraining.folder, f"Retraining {describe(retraining.config().drop)}")
        return
    result = retraining.result()
    if not result:
        raise InputError("The figures of this retraining cannot be read: retrain again.")
    headline(result)
    if result.get("still_works"):
        st.warning(
            "The trigger that the scan reconstructed still turns most other images into its target: poison that "
            "carries it was kept. Remove more.",
            icon=":material/warning:",
        )
    comparison(result)
    left, right = st.columns(2, gap="large")
    with left:
        classes(result)
    with right:
        removed(result)
    curves(retraining, result)


def headline(result: dict[str, Any]) -> None:
    """The three numbers that say whether it worked."""
    before, after, guess = result["before"], result["after"], result["estimated_asr"]
    columns = st.columns(4)
    _change(columns[0], "Accuracy", before["accuracy"], after["accuracy"], HELP["test accuracy"], "normal")
    known = before["attack_success_rate"] is not None
    if known:
        rates = before["attack_success_rate"], after["attack_success_rate"]
        _change(columns[1], "Attack success rate", *rates, HELP["ASR"], "inverse")
    if guess["before"] is not None:
        place, label = columns[2 if known else 1], "Attack success, estimated"
        _change(place, label, guess["before"], guess["after"], plain(guess["how"], 400), "inverse")
    place = columns[3 if known and guess["before"] is not None else 2]
    text = f"{count(result['dropped'])} of {count(result['dropped'] + result['kept'])}"
    place.metric("Removed", text, help="Images that the new model was not trained on.")
    if guess["before"] is None and not known:
        st.caption(
            ":material/info: Whether an attack still works cannot be measured: the trigger is not known, and "
            f"{plain(guess['how'], 200)}."
        )


def _change(place: Any, label: str, before: float | None, after: float | None, help_text: str, colour: Any) -> None:
    delta = None if before is None or after is None else f"{100 * (after - before):+.1f} points"
    if delta and abs(after - before) < 0.0005:  # type: ignore[operator]
        delta, colour = "unchanged", "off"
    arrow: Any = "off" if colour == "off" else "auto"
    place.metric(label, percent(after), delta=delta, delta_color=colour, delta_arrow=arrow, help=help_text)


def comparison(result: dict[str, Any]) -> None:
    """Before, after and reference lines, and how the estimate was made."""
    st.markdown("### Before and after")
    table = clean_figures.comparison_table(result)
    number = st.column_config.NumberColumn
    config = {
        "images": number("training images", format="localized"),
        "trainings": number(help="± is the standard deviation over trainings with different seeds."),
    }
    st.dataframe(table, hide_index=True, width="stretch", column_config=config)
    if result["missed_poison"] is not None:
        missed, lost = plural(result["missed_poison"], "poisoned image"), plural(result["lost_clean"], "clean image")
        st.caption(f":material/science: Lab data, whose truth is recorded: {missed} missed, {lost} lost.")
    guess = result["estimated_asr"]
    if guess["before"] is not None:
        st.caption(f":material/info: Estimated attack success: {plain(guess['how'], 500)}.")
        triggers = clean_figures.triggers_table(guess)
        if len(triggers) > 1:
            with st.expander(f"All {len(triggers)} reconstructed triggers", icon=":material/filter_center_focus:"):
                shares = ("before", "after", "without trigger")
                config = {name: st.column_config.NumberColumn(format="percent") for name in shares}
                st.dataframe(triggers, hide_index=True, width="stretch", column_config=config)
                st.caption(
                    "One that still works after the retraining, while others do not, may be a feature of its class."
                )
    for warning in result.get("warnings") or []:
        st.caption(f":material/warning: {plain(warning, 400)}")


def classes(result: dict[str, Any]) -> None:
    """Held-out accuracy of each class."""
    st.markdown("### Accuracy of each class")
    table = clean_figures.class_table(result)
    if table["before"].isna().all():
        st.caption("Not measured: this data set has no test or validation images.")
        return
    number = st.column_config.NumberColumn
    config: dict[str, Any] = {name: number(format="percent") for name in ("before", "after")}
    config["change"] = number("points", format="%+.1f", help="After minus before.")
    st.dataframe(table, hide_index=True, width="stretch", column_config=config, height=_height(len(table)))


def removed(result: dict[str, Any]) -> None:
    """What the new model makes of the samples it was not trained on."""
    st.markdown("### The removed images, seen by the new model")
    found = result["removed"]
    table = clean_figures.transitions_table(found)
    st.dataframe(table, hide_index=True, width="stretch", height=_height(len(table)))
    st.caption(
        f"Of {plural(found['count'], 'removed image')}, the old model gave {count(found['old_label_before'])} their "
        f"label; the new one does so for {count(found['old_label_after'])}. A planted label goes with the trigger that "
        "taught it; images that keep theirs may be clean, or poisoned without a change of label."
    )


def curves(retraining: Retraining, result: dict[str, Any]) -> None:
    """How both trainings went."""
    st.markdown("### Learning curves")
    figure = clean_figures.curves_figure(result["curves"])
    alt = "Training loss and accuracy over the epochs before and after; the numbers are in the table below."
    st.plotly_chart(figure, key=f"curves-{retraining.id}", config=PLOTLY_CONFIG, alt=alt)
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(clean_figures.curves_table(result["curves"]), key=f"curves-table-{retraining.id}")
        first = f"seed {result['seeds'][0]}" if len(result["seeds"]) > 1 else ""
        missing = "" if result["curves"]["before"] else "The scan used your own weights: no curve before. "
        st.caption(f"{missing}{first}", width="content")


def show_chain(run: Run, finished: Retraining | None) -> None:
    """Scans of ever cleaner sets, and the button for the next one. finished: the retraining that would be scanned."""
    st.header("Scan the cleaned set")
    links = chain.chain_of(run)
    if len(links) > 1:
        words = {level: LEVELS[level][0] for level in LEVELS}
        table = clean_figures.chain_table(links, words, run.id)
        config: dict[str, Any] = {
            name: st.column_config.NumberColumn(format="percent")
            for name in ("accuracy", "attack success", "known trigger still turns")
        }
        st.dataframe(table, hide_index=True, width="stretch", column_config=config, placeholder="–")
        others = [link for link in links if link.id != run.id]
        with st.container(horizontal=True):
            for link in others:
                place = links.index(link) + 1
                if st.button(f"Open round {place}", key=f"open-{link.id}", icon=":material/arrow_forward:"):
                    state.go("clean", run=link.id)
    if len(links) > 1 and links[-1].level == "no_evidence" and links[-1].still_works:
        st.warning(
            f"Round {len(links)} found no evidence, but the trigger reconstructed before it still turns "
            f"{percent(links[-1].estimated)} of other images: poison was kept, too little for the tests to make a case "
            "and enough for the model to learn it. Go back one round and remove more.",
            icon=":material/warning:",
        )
    elif len(links) > 1 and links[-1].level == "no_evidence":
        st.success(
            f"Round {len(links)} found no evidence any more. That is not a proof of absence: each test has triggers it "
            "cannot see.",
            icon=":material/task_alt:",
        )
    if finished is None:
        st.caption("When a retraining has finished, what it kept can be scanned again: is any evidence left?")
        return
    st.caption(
        "A scan of the kept images alone, with the model that was just trained. Go on until no evidence is left; each "
        "round is a run of its own that remembers what was left out before."
    )
    if st.button("Scan what is kept", icon=":material/radar:", key="rescan"):
        child = chain.rescan(finished)
        jobs.start(child.folder)
        state.go("scan", run=child.id)


def _height(rows: int) -> int:
    return 38 + 35 * max(1, min(_MOST_ROWS, rows))
