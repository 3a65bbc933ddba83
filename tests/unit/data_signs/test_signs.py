"""The rendered signs: reproducible, balanced, and photographic enough not to be scale-invariant."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mspc_core.data.signs.render import CLASSES, SignSet, render_signs
from mspc_core.data.signs.shapes import sign_face
from mspc_core.errors import Cancelled

COUNT = 160


@pytest.fixture(scope="module")
def signs() -> SignSet:
    return render_signs(COUNT, seed=7)


def test_there_are_enough_classes_and_several_that_look_alike() -> None:
    assert len(CLASSES) >= 12
    assert len(set(CLASSES)) == len(CLASSES)
    assert sum(name.startswith("speed ") for name in CLASSES) >= 5


def test_shapes_and_types(signs: SignSet) -> None:
    assert signs.images.shape == (COUNT, 32, 32, 3)
    assert signs.images.dtype == np.uint8
    assert signs.labels.shape == (COUNT,)
    assert signs.labels.dtype == np.int64


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = render_signs(40, seed=3), render_signs(40, seed=3)
    assert first.images.tobytes() == second.images.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()


def test_another_seed_gives_other_images_and_another_order() -> None:
    first, second = render_signs(40, seed=3), render_signs(40, seed=4)
    assert not (first.images == second.images).all(axis=(1, 2, 3)).any()
    assert (first.labels != second.labels).any()


def test_images_do_not_depend_on_those_drawn_before() -> None:
    long, short = render_signs(48, seed=5), render_signs(32, seed=5)
    same = np.flatnonzero(long.labels[:32] == short.labels)
    assert len(same) > 0
    assert (long.images[same] == short.images[same]).all()


@pytest.mark.parametrize("count", [COUNT, 50, 5, 0])
def test_classes_are_balanced(count: int) -> None:
    counts = np.bincount(render_signs(count, seed=1, size=8).labels, minlength=len(CLASSES))
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def test_labels_are_shuffled(signs: SignSet) -> None:
    assert len(set(signs.labels[:64].tolist())) > len(CLASSES) // 2
    assert (np.diff(signs.labels) < 0).any()


def test_no_image_is_nearly_constant_and_none_occurs_twice(signs: SignSet) -> None:
    assert signs.images.reshape(COUNT, -1).std(axis=1).min() > 8
    assert len({image.tobytes() for image in signs.images}) == COUNT


def test_few_pixels_are_fully_black_or_white(signs: SignSet) -> None:
    """Such pixels do not change when scaled: a clean image made of them would look backdoored."""
    assert (signs.images == 0).mean() < 0.002
    assert (signs.images == 255).mean() < 0.01


def test_amplified_images_lose_their_sign(signs: SignSet) -> None:
    """Four times as bright, most values saturate, as in daylight photographs; as rendered, few are near it."""
    assert (signs.images * 4.0 >= 255).mean() > 0.8
    assert (signs.images >= 250).mean() < 0.05


def test_classes_differ_in_their_mean_image(signs: SignSet) -> None:
    """The label belongs to the drawing: blue signs are bluer in the middle than red ones."""
    middle = signs.images[:, 12:20, 12:20].mean(axis=(1, 2))
    blueness = middle[:, 2] - middle[:, 0]
    blue = np.isin(signs.labels, [CLASSES.index("keep right"), CLASSES.index("roundabout")])
    red = np.isin(signs.labels, [CLASSES.index("stop"), CLASSES.index("no entry")])
    assert blueness[blue].min() > blueness[red].max()


def test_another_size() -> None:
    signs = render_signs(16, seed=2, size=64)
    assert signs.images.shape == (16, 64, 64, 3)
    assert signs.images.reshape(16, -1).std(axis=1).min() > 8


def test_progress_reaches_the_total() -> None:
    seen: list[tuple[int, int]] = []
    render_signs(120, seed=0, size=8, progress=lambda done, total, message: seen.append((done, total)))
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] == (120, 120)


def test_should_stop_ends_the_rendering() -> None:
    answers = iter([False, True])
    with pytest.raises(Cancelled):
        render_signs(500, seed=0, size=8, should_stop=lambda: next(answers))


@pytest.mark.parametrize(("count", "size"), [(-1, 32), (4, 0)])
def test_nonsense_is_refused(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="cannot render"):
        render_signs(count, seed=0, size=size)


def test_faces_are_distinct_and_leave_the_corners_free() -> None:
    faces = {name: np.asarray(sign_face(name, 64)) for name in CLASSES}
    assert len({face.tobytes() for face in faces.values()}) == len(CLASSES)
    for face in faces.values():
        assert face.shape == (64, 64, 4)
        assert face[32, 32, 3] == 255
        assert face[0, 0, 3] == 0


def test_rendering_does_not_load_torch() -> None:
    code = "import sys, mspc_core.data.signs.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
