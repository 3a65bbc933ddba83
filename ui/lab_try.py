"""The playground: put a lab data set's trigger on an image and watch what the trained model says."""

from __future__ import annotations

import numpy as np
import streamlit as st

from mspc_core import playground
from mspc_core.attacks.recipe import Recipe
from mspc_core.runs import Run
from ui import cache, evidence, images, lab_compute, lab_data, lab_figures, lab_pick, state
from ui.errors import friendly
from ui.gallery import Tile, gallery
from ui.text import HELP, percent, plain, plural
from ui.theme import PLOTLY_CONFIG

EACH, LARGE = 12, 224
_ROW = "lab-try-row"


def show(selected: Run | None) -> None:
    """The whole view. selected: the run that the sidebar shows."""
    found = lab_data.lab_runs()
    if not found:
        st.info(
            "There is no trained model of a lab data set yet. Make a data set and scan it, or open the demo on Home; "
            "then its trigger can be tried here.",
            icon=":material/science:",
        )
        if st.button("Make poisoned data", type="primary", icon=":material/science:", key="lab-go-make"):
            st.session_state.pop("lab-view", None)
            state.go("lab", view="make")
        return
    left, right = st.columns([2, 3], vertical_alignment="center", gap="large")
    with left:
        run = _choose_run(found, selected)
    with friendly():
        recipe = lab_compute.recipe_of(run)
        with right:
            _about(run, recipe)
        _playground(run, recipe)


def _choose_run(found: dict[str, Run], selected: Run | None) -> Run:
    labels = state.distinct_labels(found)
    here = selected.id if selected is not None and selected.id in found else next(iter(found))
    st.session_state["lab-run"] = here

    def chosen() -> None:
        state.select_run(st.session_state["lab-run"])

    st.selectbox("Trained model of", list(found), key="lab-run", format_func=labels.__getitem__, on_change=chosen)
    if selected is not None and selected.id != here:
        st.caption("The selected run has no model or no lab data: this is the newest one that has both.")
    return found[here]


def _about(run: Run, recipe: Recipe) -> None:
    names = lab_data.class_options(cache.dataset_of(run).info.classes)
    wanted = {"all-to-all": "the next class", "random": "any wrong class"}.get(
        recipe.label_mode, f"**{plain(names[recipe.target])}**"
    )
    st.markdown(
        f"{plain(recipe.attack.title)}, planted in {percent(recipe.rate)} of the training images. The attacker wants: "
        f"{wanted}."
    )


@st.fragment
def _playground(run: Run, recipe: Recipe) -> None:
    with friendly():
        dataset = cache.dataset_of(run)
        kind = st.segmented_control(
            "Image", ["From the data set", "Upload"], default="From the data set", key="lab-from", required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        image, said = _uploaded(dataset.info.size) if kind == "Upload" else _stored(run)
        if image is None:
            return
        pictures, bars = st.columns([1, 1.15], gap="large")
        with pictures:
            value = _strength(recipe)
        trial = lab_compute.trial_of(run, image, value)
        names = lab_data.class_options(dataset.info.classes)
        with pictures:
            _pictures(trial, said, names)
        with bars:
            _bars(trial, names, recipe)
        st.divider()
        with friendly():
            _many(run, recipe, value)


def _uploaded(size: int) -> tuple[np.ndarray | None, str]:
    upload = st.file_uploader(
        f"A PNG or JPEG of at most {lab_compute.UPLOAD_BYTES // 2**20} MB; it stays on this machine, is stretched to "
        f"{size} × {size} px as data sets are, and is not kept",
        type=list(lab_compute.UPLOAD_KINDS),
        key="lab-upload",
    )
    if upload is None:
        return None, ""
    return lab_compute.decoded(upload.getvalue(), size), "your picture"


def _stored(run: Run) -> tuple[np.ndarray | None, str]:
    dataset = cache.dataset_of(run)
    has_test = bool(dataset.info.split_counts.get("test"))
    rows = lab_pick.pick(dataset, "lab-try", EACH, split="test" if has_test else "")
    if not len(rows):
        st.info("This class has no images in this split.", icon=":material/image_not_supported:")
        return None, ""
    names = lab_data.class_options(dataset.info.classes)
    labels, splits = (dataset.manifest[name].to_numpy() for name in ("label", "split"))
    chosen = st.session_state.get(f"{_ROW}-{run.id}")
    if chosen not in rows:
        chosen = int(rows[0])
    tiles = [Tile(str(row), names[labels[row]]) for row in rows]

    def clicked(row: str) -> None:
        st.session_state[f"{_ROW}-{run.id}"] = int(row)

    gallery(
        lab_data.pixels_of(dataset, rows), tiles, key=f"lab-wall-{run.id}", label="Images to try", size=64,
        selected=str(chosen), on_click=clicked,
    )  # fmt: skip
    if splits[chosen] == "train":
        st.caption("This is a training image: if it was poisoned, it carries the trigger already.")
    return np.array(dataset.pixels[chosen]), f"labelled {names[labels[chosen]]}"


def _strength(recipe: Recipe) -> float | None:
    """How strong the trigger is; None as it was recorded."""
    setting = playground.strength_setting(recipe.attack)
    key = f"lab-strength-{recipe.attack.name}"
    st.session_state[key] = setting.value(st.session_state.get(key, setting.default))
    whole = setting.kind == "whole"
    low, high, step = (
        int(part or 1) if whole else float(part or 0) for part in (setting.low, setting.high, setting.step)
    )
    value = st.slider(
        f"Strength of the trigger: {setting.title.lower()}",
        low,
        high,
        step=step,
        key=key,
        format="%d" if whole else "%g",
        help=f"{plain(setting.help, 300)} It was planted with {setting.default:g}.",
    )
    return None if value == setting.default else value


def _pictures(trial: playground.Trial, said: str, names: list[str]) -> None:
    for column, place, title in zip(
        st.columns(2), (0, 1), (f"Clean, {plain(said, 40)}", "With the trigger"), strict=True
    ):
        picture = images.framed(images.enlarge(images.thumbnails(trial.images[place][None], LARGE)[0], LARGE))
        sure = float(trial.probabilities[place].max())
        with column:
            st.image(picture, width="stretch", alt=f"The image {'with the trigger' if place else 'as it is'}")
            answer = f"**{plain(names[trial.predicted[place]], 30)}** {percent(sure)}"
            st.markdown(f":small[:gray[{title}]]  \n{answer}")


def _bars(trial: playground.Trial, names: list[str], recipe: Recipe) -> None:
    before, after = (plain(names[number], 30) for number in trial.predicted)
    if trial.flipped:
        st.markdown(f":orange-badge[:material/swap_horiz: flips] From **{before}** to **{after}**.")
    else:
        st.markdown(f":green-badge[:material/lock: stays] The prediction stays **{before}**.")
    figure = lab_figures.probability_figure(trial, names, recipe.target)
    alt = "Probabilities of the classes before and after the trigger; the numbers are in the table below."
    st.plotly_chart(figure, width="stretch", config=PLOTLY_CONFIG, key="lab-bars", alt=alt)
    table = lab_figures.probability_table(trial, names, recipe.target)
    evidence.table_under(table, "Probabilities as a table", key="lab-bars-table")


def _many(run: Run, recipe: Recipe, value: float | None) -> None:
    st.header("How often does it work?")
    seed = int(st.session_state.get("lab-many-seed", 0))
    if not lab_compute.is_quick(run) and st.session_state.get("lab-many-asked") != (run.id, value, seed):
        st.caption(f"This model is large: {playground.MANY} images take it some seconds.")
        if st.button(f"Try {playground.MANY} random images", icon=":material/casino:", key="lab-many-start"):
            st.session_state["lab-many-asked"] = (run.id, value, seed)
            st.rerun(scope="fragment")
        return
    tally = lab_compute.tally_of(run, value, seed)
    low, high = tally.interval
    columns = st.columns([1.3, 1, 1, 1.2], vertical_alignment="center")
    columns[0].metric("Predicted as the attacker wants", f"{tally.hits} of {tally.count}")
    columns[1].metric("Attack success rate", percent(tally.hits / tally.count), help=HELP["ASR"])
    columns[2].metric(
        "Without the trigger",
        f"{int(tally.already.sum())} of {tally.count}",
        help="Images that the model answers so without any trigger: its ordinary mistakes.",
    )

    def draw() -> None:
        st.session_state["lab-many-seed"] = seed + 1
        st.session_state["lab-many-asked"] = (run.id, value, seed + 1)

    columns[3].button("Other images", icon=":material/casino:", on_click=draw, key="lab-many")
    st.caption(
        f"{plural(tally.count, 'random clean image')}, with the strength set above. The true rate lies between "
        f"{percent(low)} and {percent(high)} (95 % interval)."
    )
