"""A report as a browser would read it: elements, attributes and text, by the standard library's parser."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "link", "line", "rect", "circle", "polyline", "polygon"}
LOADING = {
    "src",
    "srcset",
    "href",
    "xlink:href",
    "action",
    "formaction",
    "data",
    "poster",
    "background",
    "ping",
    "style",
}


class Page(HTMLParser):
    """tags: every element with its attributes. headings: level and words. Fails on elements that are left open."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == [], f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.words.append(data)
        if self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    @property
    def text(self) -> str:
        """All words, with single and ordinary spaces."""
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def count(self) -> Counter[str]:
        return Counter(name for name, _ in self.tags)


def check_harmless(page: Page) -> None:
    """Nothing can run, and nothing is loaded from anywhere."""
    forbidden = {"script", "iframe", "object", "embed", "link", "base", "form", "input", "button", "video", "audio"}
    assert not forbidden & set(page.count()), forbidden & set(page.count())
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name, value)
            if name in LOADING:
                assert "url(" not in value.lower(), (tag, value)
                assert "javascript:" not in value.lower(), (tag, value)
            if name in ("src", "srcset"):
                assert value.startswith("data:image/png;base64,"), (tag, value[:60])
            if name in ("href", "xlink:href"):
                assert value.startswith("#"), (tag, value)
