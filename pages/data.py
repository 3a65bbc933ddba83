"""Data: what is stored, what it looks like, what was skipped and why, and how to add more."""

import streamlit as st

from mspc_core import work
from mspc_core.data import store
from mspc_core.data.source import open_source
from mspc_core.errors import InputError
from ui import cache, data_view, run_list, state
from ui.errors import friendly
from ui.job_panel import job_panel
from ui.text import count, plain, plural, short


def choose(found: dict[str, store.DatasetInfo]) -> store.DatasetInfo:
    wanted = st.session_state.pop("show_dataset", None) or st.query_params.get("dataset")
    if wanted in found:
        st.session_state["data_choice"] = wanted
    else:
        if wanted:
            state.say_not_stored(wanted)
        if st.session_state.get("data_choice") not in found:
            st.session_state.pop("data_choice", None)
    st.query_params.pop("dataset", None)
    left, right = st.columns(2, vertical_alignment="bottom")
    name = left.selectbox("Data set", list(found), key="data_choice", format_func=lambda key: short(key, 60))
    with right.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Scan this data set", type="primary", icon=":material/radar:"):
            state.go("scan", new="1", dataset=name)
        clean = found[name].kind != "lab"
        if clean and st.button("Poison a copy", icon=":material/science:", help="In the Poison lab, to test or teach."):
            state.go("lab", view="make", dataset=name)
        if st.button("Delete", icon=":material/delete:", type="tertiary"):
            confirm_delete(name)
    return found[name]


@st.dialog("Delete this data set?", icon=":material/delete:")
def confirm_delete(name: str) -> None:
    used = len(data_view.runs_using(name))
    st.markdown(f"**{plain(name)}** is removed from Backdoor Lens. The source it was read from is not touched.")
    if used:
        st.warning(f"{plural(used, 'scan')} of it can then no longer show images.", icon=":material/warning:")
    run_list.confirm_buttons(data_view.delete, name)


def facts(info: store.DatasetInfo) -> None:
    columns = st.columns(5)
    columns[0].metric("Images", count(info.count))
    columns[1].metric("Classes", count(len(info.classes)))
    size = f"{info.size} × {info.size} px"
    columns[2].metric("Stored at", size, help="Every image is resized to this when imported.")
    columns[3].metric("Resized", count(info.resized), help="Images that had another size in the source.")
    columns[4].metric(
        "Skipped", count(info.skipped), help="Files that could not be read as images, with reasons below."
    )
    created = plain(info.created[:16].replace("T", " "))
    st.caption(f"From {plain(info.source, 120)} ({plain(info.kind)}), imported {created} UTC")


def images_tab(dataset: store.Dataset) -> None:
    info = dataset.info
    left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
    labels = [-1, *range(len(info.classes))]
    label = left.selectbox(
        "Class", labels, format_func=lambda n: "All classes" if n < 0 else short(info.classes[n]), key="data_class"
    )
    splits = ["", *(split for split in store.SPLITS if info.split_counts.get(split))]
    split = middle.selectbox("Split", splits, format_func=lambda s: s or "All splits", key="data_split")
    rows = data_view.chosen_rows(dataset, label if label >= 0 else None, split or None)
    right.caption(plural(len(rows), "image"))
    if not len(rows):
        st.info("This class has no images in this split.", icon=":material/image_not_supported:")
        return
    each = data_view.COLUMNS * data_view.ROWS
    pages = -(-len(rows) // each)
    page = min(st.session_state.get("data_page", 1), pages)
    shown = rows[(page - 1) * each : page * each]
    shown_as = f"{plural(len(shown), 'image')} of this data set; listed in the table below."
    st.image(data_view.contact_sheet(dataset.pixels[shown]), width="content", alt=shown_as)
    if pages > 1:
        st.pagination(pages, key="data_page")
    with st.expander("These images as a table", icon=":material/table:"):
        st.dataframe(data_view.sheet_table(dataset, shown), hide_index=True, width="stretch")


def classes_tab(dataset: store.Dataset) -> None:
    table = data_view.class_table(dataset)
    most = int(table["all"].max())
    bar = st.column_config.ProgressColumn("all", format="%d", min_value=0, max_value=max(1, most))
    st.dataframe(
        table, hide_index=True, width="stretch", column_config={"all": bar}, height=min(600, 38 + 35 * len(table))
    )


def skipped_tab(dataset: store.Dataset) -> None:
    skipped = dataset.skipped()
    if not len(skipped):
        st.success("Nothing was skipped: everything in the source could be read.", icon=":material/check_circle:")
        return
    left, right = st.columns([2, 3])
    left.dataframe(data_view.reasons(skipped), hide_index=True, width="stretch")
    right.dataframe(skipped.head(5000), hide_index=True, width="stretch", height=min(280, 38 + 35 * len(skipped)))
    left.download_button(
        "Download the list (CSV)",
        data_view.safe_csv(skipped),
        file_name=f"{dataset.info.name}-skipped.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def import_form() -> None:
    st.markdown("## Add a data set")
    kind = st.segmented_control(
        "From", ["Path or name", "Upload"], default="Path or name", key="import_kind", label_visibility="collapsed"
    )
    with st.form("import", border=True):
        source, upload = "", None
        if kind == "Upload":
            upload = st.file_uploader(
                "A zip of class folders, a Parquet file or an .npz (up to 128 MB)", type=list(data_view.UPLOAD_KINDS)
            )
        else:
            source = st.text_input(
                "Path on the machine that runs this app, or the name of a torchvision data set",
                placeholder="/data/vendor-images   or   cifar10",
                help="A folder with one sub-folder for each class, a zip or tar of one, Parquet, CSV or TSV with "
                "columns path and label, or .npz. Names such as cifar10 are downloaded by torchvision.",
            )
        left, right = st.columns(2)
        name = left.text_input("Name (optional)", placeholder="taken from the source")
        size = right.number_input(
            "Image size in pixels",
            16,
            512,
            32,
            step=8,
            help="Images become squares of this size. Larger is slower.",
        )
        if st.form_submit_button("Import", type="primary", icon=":material/download:"):
            start_import(source, upload, name.strip(), int(size))


def start_import(source: str, upload, name: str, size: int) -> None:
    with friendly():
        if upload is not None:
            source = str(data_view.save_upload(upload.name, upload.getbuffer()))
        if not source.strip():
            raise InputError("Give a path, a torchvision name, or choose a file to upload.")
        if name:
            from mspc_core.home import check_name

            check_name(name)
        with st.spinner("Looking at the source …"):
            open_source(source)
        folder = work.submit_import(source.strip(), name=name, size=size)
        st.session_state["import_job"] = folder.name
        st.rerun()


def import_job() -> None:
    """The import at work, or the one that ended in this session."""
    folder = data_view.newest_import(st.session_state.get("import_job"))
    if folder is None:
        return
    from mspc_core import jobs

    status = jobs.read_status(folder)
    if status.state == "finished":
        st.session_state.pop("import_job", None)
        result = work.result_of(folder)
        st.session_state["show_dataset"] = result.get("name")
        how = "was stored already; nothing had to be read again" if result.get("reused") else "is stored"
        st.success(
            f"“{plain(result.get('name'))}” {how}: {plural(result.get('count', 0), 'image')}, "
            f"{count(result.get('skipped', 0))} skipped.",
            icon=":material/check_circle:",
        )
        return
    if status.active:
        st.session_state["import_job"] = folder.name
    job_panel(folder, f"Importing {jobs.read_config(folder).get('source', '')}")


state.through_router()
with friendly():
    st.title("Data")
    with st.container(), friendly():  # always there, so that the tabs below keep their place
        run_list.show_refusal()
        import_job()
    found = {info.name: info for info in store.list_datasets()}
    if found:
        info = choose(found)
        facts(info)
        dataset = cache.stored_dataset(info.name)
        images, classes, skipped = st.tabs(["Images", "Classes", f"Skipped ({count(info.skipped)})"])
        with images, friendly():
            images_tab(dataset)
        with classes, friendly():
            classes_tab(dataset)
        with skipped, friendly():
            skipped_tab(dataset)
        st.divider()
    else:
        st.markdown(
            "No data set is stored yet. Add one below, or open the demo on Home. Images are read once, checked, and "
            "stored in a form that is fast to scan; whatever cannot be read is listed with its reason."
        )
    import_form()
