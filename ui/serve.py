"""Starts the app: `python -m ui.serve [options of "streamlit run"]`. Modules that pages need are loaded meanwhile, so
that the first visit does not wait for them. `streamlit run app.py` does the same without the head start."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
import threading
from pathlib import Path

import ui

APP = Path(__file__).parent.parent / "app.py"
# What pages load late, by use: tables, their files, figures, decisions, pictures, Streamlit's own.
LATE = (
    "pandas",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "plotly.graph_objs._figure",
    "plotly.graph_objs.layout",
    "plotly.io._json",
    "plotly.tools",
    "sqlalchemy.dialects.sqlite",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "streamlit.dataframe.lazy_df_adapters",
    "streamlit.material_icon_names",
    "streamlit.runtime.scriptrunner.magic_funcs",
)


def load() -> None:
    """Import what the pages import. Nothing of it loads torch; what cannot be imported is left to the page, which says
    so."""
    names = [*LATE, *(f"ui.{module.name}" for module in pkgutil.iter_modules(ui.__path__) if module.name != "serve")]
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            logging.getLogger(__name__).warning("%s could not be loaded ahead: %s", name, error)


def main(arguments: list[str]) -> None:
    """Start Streamlit in this process, which does not return before the server ends."""
    from streamlit.web import cli

    threading.Thread(target=load, name="load-ahead", daemon=True).start()
    cli.main(["run", str(APP), *arguments], prog_name="streamlit")


if __name__ == "__main__":
    main(sys.argv[1:])
