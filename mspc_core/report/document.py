"""From a run to the HTML document: collects the parts and fills in the templates."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mspc_core import __version__
from mspc_core.report import (
    cases,
    data_facts,
    evidence,
    limits,
    overview,
    reproduce,
    retrained,
    reviewed,
    scoring,
)
from mspc_core.report.material import Material, load
from mspc_core.runs import Run
from mspc_core.words import short

_SPACE = re.compile(r"(?<=\d) (?=%)|(?<=[<>]) (?=\d)")  # inside "12.3 %" and "> 99 %"
# Nothing is fetched and nothing can run, even if a text slipped through the escaping.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(run: Run, now: datetime) -> str:
    """See `mspc_core.report.render`."""
    return page(load(run), now)


def page(material: Material, now: datetime) -> str:
    """The HTML document of what was read from a run."""
    return _environment().get_template("report.html.j2").render(context(material, now))


def context(material: Material, now: datetime) -> dict[str, Any]:
    """Everything the template shows, as plain values."""
    missing = scoring.missing_detectors(material)
    rule = (material.summary.get("verdict") or {}).get("rule")
    return {
        "policy": POLICY,
        "tool_version": __version__,
        "run_id": material.run.id,
        "data_name": short(material.summary["dataset"].get("name") or material.config.dataset, 80),
        "written": f"{now:%Y-%m-%d %H:%M} UTC",
        "overview": overview.overview(material),
        "rule": short(rule, 1000) if rule else "",
        "data_gone": short(material.data_gone, 300) if material.data_gone else "",
        "data_table": data_facts.data_table(material),
        "class_table": data_facts.class_table(material),
        "skipped_tables": data_facts.skipped_tables(material),
        "model_table": data_facts.model_table(material),
        "outcome_table": scoring.outcome_table(material),
        "methods": scoring.methods(material),
        "histograms": scoring.histograms(material),
        "truth_known": material.truth() is not None,
        "roc": scoring.roc_figure(material),
        "no_roc": scoring.no_roc(material),
        "evidence": evidence.evidence(material),
        "case_groups": cases.groups(material),
        "review": reviewed.review(material),
        "agreement": reviewed.agreement(material),
        "retrained": retrained.retrained(material.retrain, material.classes),
        "limits": limits.limits(material, missing),
        "cut_words": limits.cut_words(material),
        "reproduce": reproduce.reproduce(material),
    }


def _unbroken(value: Any) -> Any:
    """Keep a number and its per cent sign on one line; markup stays as it is."""
    return _SPACE.sub("\u00a0", value) if type(value) is str else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
