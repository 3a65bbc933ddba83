"""One pass over the images of an export: where their bytes go, what is left out, and what lies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mspc_core import __version__, selection
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.export import hf, images, names, originals
from mspc_core.export.images import ABOUT, CHECKSUMS, MANIFEST, Entry, FolderSink, Sink
from mspc_core.export.plan import Plan

_LISTED = 3  # files named in an error's one sentence


class SourceChangedError(InputError):
    """Files of the source changed or vanished since the import. problems: (path, what is wrong), all of them."""

    def __init__(self, problems: list[tuple[str, str]], total: int) -> None:
        shown = "; ".join(f"{path[:80]}: {reason}" for path, reason in problems[:_LISTED])
        more = f"; and {len(problems) - _LISTED:,} more" if len(problems) > _LISTED else ""
        super().__init__(
            f"{len(problems):,} of {total:,} images cannot be exported as they were scanned ({shown}{more}): import "
            "and scan the source again, or ask to leave them out (--skip-changed); nothing was written."
        )
        self.problems = problems


class ImageWork:
    """One pass over the images of a plan."""

    def __init__(
        self, plan: Plan, dataset: Dataset, stored: bool, progress: Progress | None, should_stop: ShouldStop | None
    ) -> None:
        self.plan, self.dataset, self.stored = plan, dataset, stored
        self.problems: list[tuple[str, str]] = []
        self.linked = self.written = 0
        self._progress, self._should_stop = progress, should_stop

    def tree(self, sink: Sink) -> None:
        """An image folder, or FiftyOne's."""
        rows = self.plan.rows
        fiftyone = self.plan.config.format == "fiftyone"
        if fiftyone:
            planned = images.fiftyone_names(self.dataset, rows)
        else:
            planned = names.tree_names(self.dataset, rows, png=self.stored)
        by_row = dict(zip(rows.tolist(), planned, strict=True))
        entries = []
        for image, content in self._images():
            name = names.with_suffix(by_row[image.row], content)
            self._put(sink, name, image, content)
            entries.append(Entry(image.row, name, images.digest(content)))
        entries.sort(key=lambda entry: entry.row)
        if fiftyone:
            for place, labels in images.fiftyone_labels(self.dataset, entries).items():
                sink.write(place, labels)
                entries.append(Entry(-1, place, images.digest(labels)))
        self._finish(sink, entries, [entry for entry in entries if entry.row >= 0])

    def hub(self, folder: Path, sink: FolderSink) -> None:
        """Parquet shards."""
        table = self.dataset.manifest
        splits, paths, labels = (table[name].tolist() for name in ("split", "path", "label"))
        writer = hf.HubWriter(folder, self.dataset)
        entries = []
        try:
            for image, content in self._images():
                writer.add(splits[image.row], content, str(paths[image.row]), int(labels[image.row]))
                entries.append(Entry(image.row, "", images.digest(content)))
            shards = writer.finish()
        finally:
            writer.close()
        files = [Entry(-1, name, images.digest_file(folder / name)) for name in shards]
        self._finish(sink, files, sorted(entries, key=lambda entry: entry.row))

    def warnings(self) -> list[str]:
        found = list(self.plan.warnings)
        info = self.dataset.info
        if self.stored and originals.has_originals(info):
            found.append(f"The images are the stored pixels, resized to {info.size}×{info.size}, as PNG.")
        elif self.stored:
            found.append(f"This data has no image files of its own: its pixels ({info.size}×{info.size}) became PNG.")
        if self.problems:
            left = "1 image was" if len(self.problems) == 1 else f"{len(self.problems):,} images were"
            found.append(f"{left} left out, because the source changed since the import.")
        if self.linked:
            found.append(f"Hard links: {self.linked:,}. Whoever writes into one of these files changes the source too.")
        if self.plan.config.link and self.linked < self.written:
            found.append(f"Files that could not be linked and were copied: {self.written - self.linked:,}.")
        return found

    def _images(self) -> Iterator[tuple[originals.Image, bytes]]:
        total = len(self.plan.rows)
        for done, image in enumerate(
            originals.images_of(self.dataset, self.plan.rows, stored=self.stored, should_stop=self._should_stop), 1
        ):
            if self._progress is not None:
                self._progress(done, total, "writing images")
            if image.content is None:
                self.problems.append((str(self.dataset.manifest["path"].iloc[image.row]), image.problem))
            elif self.problems and not self.plan.config.skip_changed:
                continue  # nothing will be written: only the list is completed
            else:
                self.written += 1
                yield image, image.content
        if self.problems and not self.plan.config.skip_changed:
            raise SourceChangedError(self.problems, total)
        if not self.written:
            raise InputError("None of the images is in the source as it was scanned: import and scan it again.")

    def _put(self, sink: Sink, name: str, image: originals.Image, content: bytes) -> None:
        if self.plan.config.link and image.file and sink.link(name, image.file, content):
            self.linked += 1
        else:
            sink.write(name, content)

    def _finish(self, sink: Sink, files: list[Entry], entries: list[Entry]) -> None:
        """The manifest, what was done, and the checksums of everything."""
        beside = {
            MANIFEST: images.manifest(self.dataset, entries),
            ABOUT: images.about(self._facts(len(entries))),
        }
        for name, content in beside.items():
            sink.write(name, content)
        sums = [*files, *(Entry(-1, name, images.digest(content)) for name, content in beside.items())]
        sink.write(CHECKSUMS, images.checksums(sums))

    def _facts(self, exported: int) -> dict[str, Any]:
        config, info = self.plan.config, self.dataset.info
        return {
            "written_by": f"Backdoor Lens {__version__}",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": self.plan.run.id,
            "data_set": info.name,
            "source": info.source,
            "content_key": info.content_key,
            "format": config.format,
            "keep": config.keep,
            "dropped_by": selection.describe(config.drop),
            "scanned": len(self.plan.scores),
            "dropped": int(self.plan.dropped.sum()),
            "exported": exported,
            "byte_identical": not self.stored,
            "classes": list(info.classes),
            "warnings": self.warnings(),
            "left_out": [{"path": path, "reason": reason} for path, reason in self.problems],
        }
