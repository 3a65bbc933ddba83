"""Writes the table of answers in docs/performance.md from benchmarks/results/answers.json.

python -m benchmarks.answers_table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import markdown
from mspc_core import atomic

RESULT, PAGE = Path("benchmarks/results/answers.json"), Path("docs/performance.md")


def table(result: dict[str, Any]) -> str:
    """Markdown: where and with what it was measured, and the times of each change."""
    machine, versions = result["machine"], result["versions"]
    low, high = machine["load_at_start_and_end"]
    names = ("backdoor-lens", "python", "streamlit", "torch", "chromium")
    lines = [
        f"`{result['command']}`",
        "",
        f"Measured on {machine['cores']} cores (load average {low:g} to {high:g}) with {result['data']}: "
        + ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
        + ".",
        "",
        *markdown.head(["page", "what is changed", "answer, median", "answer, slowest", "still, median"]),
    ]
    for page, changes in result["changes"].items():
        for label, times in changes.items():
            answer = times["answer"]
            shown = (answer["median"], answer["worst"], times["settled"]["median"])
            lines.append(markdown.row([page, label, *(f"{milliseconds} ms" for milliseconds in shown)]))
    return "\n".join(lines)


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with its table replaced."""
    return markdown.filled(page, "answers", table(result))


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), atomic.read_json(RESULT)), encoding="utf-8")


if __name__ == "__main__":
    main()
