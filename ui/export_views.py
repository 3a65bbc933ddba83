"""The export panel: what is dropped, what it does to each class, the format, where it goes, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from mspc_core import jobs, work
from mspc_core.errors import InputError
from mspc_core.export.config import FORMATS, ExportConfig
from mspc_core.retrain import confirmed
from mspc_core.runs import Run
from ui import cache, evidence, export_data
from ui.errors import friendly
from ui.job_panel import job_panel
from ui.text import count, percent, plain, plural, short

if TYPE_CHECKING:
    from mspc_core.data.store import DatasetInfo

_JOB = "export_job"


def export_panel(run: Run) -> None:
    """Everything about exporting a run that has scores. Shows errors itself."""
    with friendly():
        scores, info = cache.scores_of(run), _info(run)
        rules = export_data.rules(scores)
        rule, format, keep = _choices(run, rules)
        found = export_data.preview(scores, rule, keep, cache.decisions_of(run), tuple(evidence.class_names(run)))
        _counts(found)
        _classes(found)
        for warning in found.warnings:
            st.warning(plain(warning, 400), icon=":material/warning:")
        if not found.exported:
            st.info("Nothing would be exported: choose another rule or other samples.", icon=":material/block:")
        else:
            _hand_over(run, rule, format, keep, info, found)
    with st.container(), friendly():
        _job(run)


def _info(run: Run) -> DatasetInfo | None:
    """None where the data set was deleted: tables can still be exported."""
    try:
        return cache.dataset_of(run).info
    except InputError:
        return None


def _choices(run: Run, rules: dict[str, str]) -> tuple[str, str, str]:
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    rule = left.selectbox(
        "What is not clean",
        list(rules),
        format_func=lambda key: short(rules[key], 60),
        key=f"export-rule-{run.id}",
        help="The same rules drop samples when the model is trained again.",
    )
    format = middle.selectbox(
        "Format",
        list(FORMATS),
        index=list(FORMATS).index("folder"),
        format_func=lambda key: FORMATS[key].title,
        key=f"export-format-{run.id}",
    )
    keep = right.segmented_control(
        "Samples",
        list(export_data.KEEPS),
        default=FORMATS[format].keep,
        format_func=lambda key: export_data.KEEPS[key],
        key=f"export-keep-{run.id}-{FORMATS[format].keep}",
    )
    st.caption(f"{FORMATS[format].title}: {FORMATS[format].explains}.")
    return rule, format, keep or FORMATS[format].keep


def _counts(found: export_data.Preview) -> None:
    columns = st.columns(4)
    columns[0].metric("Scanned", count(found.scanned))
    columns[1].metric("Dropped", count(found.dropped), help="By the rule above.")
    columns[2].metric(
        "Kept", count(found.scanned - found.dropped), percent(export_data.share_kept(found)), "off", delta_arrow="off"
    )
    columns[3].metric(
        "Corrected by people", count(found.corrected), help="Samples where a decision differs from the verdict."
    )


def _classes(found: export_data.Preview) -> None:
    bar = st.column_config.ProgressColumn("share dropped", format="percent", min_value=0.0, max_value=1.0)
    with st.expander("What is dropped, by class", icon=":material/table:", expanded=bool(found.dropped)):
        st.dataframe(
            found.table,
            hide_index=True,
            width="stretch",
            column_config={"share": bar},
            height=min(320, 38 + 35 * max(1, len(found.table))),
        )


def _hand_over(
    run: Run, rule: str, format: str, keep: str, info: DatasetInfo | None, found: export_data.Preview
) -> None:
    """The download of a small file, and the form that writes on the server."""
    images = FORMATS[format].images
    if images and info is None:
        st.info(
            "The data set of this run was deleted or replaced: only tables and lists can be exported.",
            icon=":material/broken_image:",
        )
        return
    if not images and found.exported <= export_data.DOWNLOAD_ROWS:
        name = export_data.file_name(run, format, keep)
        config = ExportConfig(run=str(run.folder), format=format, out=name, keep=keep, drop=rule)
        st.download_button(
            f"Download ({plural(found.exported, 'sample')})",
            data=lambda: export_data.download(run, config),
            file_name=name,
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key=f"export-download-{run.id}",
        )
    with st.form(f"export-form-{run.id}-{format}", border=True):
        out = st.text_input(
            "Write to (on the machine that runs this app)",
            value=export_data.default_target(run, format, keep),
            key=f"export-out-{run.id}-{format}-{keep}",
            help="A file or folder that does not exist yet, outside of the source.",
        )
        options = _options(run, format, keep, info) if images and info is not None else {}
        if st.form_submit_button("Export", type="primary" if images else "secondary", icon=":material/output:"):
            _start(ExportConfig(run=str(run.folder), format=format, out=out, keep=keep, drop=rule, **options))


def _options(run: Run, format: str, keep: str, info: DatasetInfo) -> dict[str, Any]:
    st.caption(export_data.what_images(info))
    found: dict[str, Any] = {}
    with st.container(horizontal=True):
        if keep != "flagged" and len(info.split_counts) > 1:
            others = st.toggle(
                "With the other splits",
                value=True,
                key=f"export-others-{run.id}",
                help="Validation and test images were not scanned; they are copied as they are.",
            )
            found["scanned_only"] = not others
        if format == "folder" and export_data.can_link(info):
            found["link"] = st.toggle(
                "Hard links",
                key=f"export-link-{run.id}",
                help="Takes no space, on the same disk only. Who writes into a linked file changes the source too.",
            )
        if keep == "clean" and (ready := len(confirmed.read(run))):
            kept = st.toggle(
                "With confirmed labels",
                key=f"export-relabel-{run.id}",
                help=f"{plural(ready, 'image')} with a label confirmed above: kept under it, not dropped.",
            )
            found["relabel"] = "confirmed" if kept else ""
        if info.kind in export_data.ORIGINAL_KINDS:
            found["skip_changed"] = st.toggle(
                "Leave out changed files",
                key=f"export-skip-{run.id}",
                help="Files that changed or vanished since the import stop the export, unless this is on.",
            )
            stored = st.toggle(
                "Stored pixels",
                key=f"export-stored-{run.id}",
                help=f"The resized images ({info.size}×{info.size}, PNG) instead of the source's files.",
            )
            found["pixels"] = "stored" if stored else "original"
    if found.get("pixels") == "stored":
        found["link"] = False
    return found


def _start(config: ExportConfig) -> None:
    with friendly():
        if not Path(config.out.strip()).expanduser().is_absolute():
            raise InputError("Give the whole path of the file or folder to make, from the root of the disk.")
        folder = work.submit_export(config)
        st.session_state[_JOB] = folder.name
        st.rerun()


def _job(run: Run) -> None:
    """The export at work, or the one that ended in this session."""
    folder = export_data.newest_job(run, st.session_state.get(_JOB))
    if folder is None:
        return
    status = jobs.read_status(folder)
    if status.state == "finished":
        _result(work.result_of(folder))
        return
    st.session_state[_JOB] = folder.name
    job_panel(folder, f"Exporting to {jobs.read_config(folder).get('out', '')}")


def _result(found: dict[str, Any]) -> None:
    title = FORMATS[found["format"]].title
    with st.container(border=True):
        st.success(
            f"{title}: {plural(int(found['samples']), 'sample')} written, {count(found['dropped'])} dropped.",
            icon=":material/check_circle:",
        )
        st.code(short(found["path"], 400), language=None)
        single = found["byte_identical"] is None or found["format"] == "zip"
        st.caption("SHA-256 of the file" if single else "SHA-256 of checksums.sha256, which lists those of all files")
        st.code(found["sha256"], language=None)
        if found["byte_identical"]:
            st.markdown("The images are **byte-identical** to the source: `sha256sum --check checksums.sha256`.")
        for note in found["warnings"]:
            st.caption(plain(note, 400))
        if found["left_out"]:
            st.dataframe(export_data.left_out_table(found["left_out"]), hide_index=True, width="stretch")
