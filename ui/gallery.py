"""A gallery of small pictures as one element: one sprite, captions, badges, a click that names the picture, and a
selection of many (the corner's circle, Ctrl, Shift or the space bar).

Hundreds of separate images and buttons would make every rerun slow. Texts reach the browser as data and are set as
text content, never as markup, so names of classes and files may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import streamlit as st

from ui import images
from ui.text import short

_SPRITE_COLUMNS = 12

_CSS = """
.wall { display: flex; flex-wrap: wrap; gap: var(--gap); font-family: var(--st-font); color: var(--st-text-color);
  padding: 3px; }
.tile { all: unset; display: block; box-sizing: border-box; width: var(--w); position: relative; border-radius: 6px;
  cursor: default; outline: 1px solid transparent; }
button.tile { cursor: pointer; }
button.tile:hover { outline: 2px solid var(--st-border-color-light, var(--st-border-color)); outline-offset: 2px; }
button.tile:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.tile.selected { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
.picture { width: var(--w); height: var(--h); image-rendering: pixelated; background-repeat: no-repeat;
  border-radius: 5px; box-sizing: border-box; position: relative; overflow: hidden; }
.picture::after { content: ""; position: absolute; inset: 0; border-radius: 5px;
  box-shadow: inset 0 0 0 var(--edge, 1px) var(--tone, rgba(128,128,128,.25)); }
.dimmed .picture { opacity: .45; }
.check { display: none; position: absolute; right: 3px; top: 3px; width: 16px; height: 16px; border-radius: 50%;
  box-sizing: border-box; border: 2px solid #fff; background: rgba(0,0,0,.35); color: #fff; font-size: 11px;
  line-height: 12px; text-align: center; font-weight: 700; cursor: pointer; }
.tile:hover .check, .tile:focus-visible .check, .wall.marking .check { display: block; }
.marked .check { background: var(--st-primary-color); }
.marked .check::before { content: "✓"; }
.marked .picture { transform: scale(.88); }
.badge { position: absolute; left: 0; top: 0; padding: 1px 6px; font-size: 11px; line-height: 16px; font-weight: 600;
  border-radius: 5px 0 6px 0; color: #fff; background: color-mix(in srgb, var(--tone, #555) 65%, #000); }
.title, .note { font-size: 12px; line-height: 16px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  display: block; width: var(--w); }
.title { margin-top: 3px; }
.note { opacity: .72; font-size: 11.5px; font-variant-numeric: tabular-nums; }
"""

_JS = """
export default function(component) {
  const { parentElement, data, setTriggerValue } = component;
  if (!data) return;
  let wall = parentElement.querySelector('.wall');
  if (!wall) {
    wall = document.createElement('div');
    wall.className = 'wall';
    wall.setAttribute('role', 'list');
    parentElement.appendChild(wall);
  }
  const { width, height, scale, columns } = data;
  const w = Math.round(width * scale), h = Math.round(height * scale);
  wall.style.setProperty('--w', w + 'px');
  wall.style.setProperty('--h', h + 'px');
  wall.style.setProperty('--gap', data.gap + 'px');
  wall.setAttribute('aria-label', data.label);
  const text = (kind, value) => {
    const span = document.createElement('span');
    span.className = kind;
    span.textContent = value;
    return span;
  };
  const ids = data.tiles.map((tile) => tile.id);
  const boxes = new Map();
  const marked = new Set(data.tiles.filter((tile) => tile.marked).map((tile) => tile.id));
  const draw = () => {
    wall.classList.toggle('marking', marked.size > 0);
    boxes.forEach((box, id) => {
      box.classList.toggle('marked', marked.has(id));
      box.setAttribute('aria-pressed', marked.has(id) ? 'true' : 'false');
    });
  };
  // From the tile that was touched last to this one where `range` is set; all get the state that this one gets.
  const mark = (id, range) => {
    const from = ids.indexOf(wall.dataset.anchor), to = ids.indexOf(id), on = !marked.has(id);
    const chosen = range && from >= 0 ? ids.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    chosen.forEach((one) => (on ? marked.add(one) : marked.delete(one)));
    wall.dataset.anchor = id;
    draw();
    setTriggerValue('marked', { ids: chosen, on });
  };
  const tiles = data.tiles.map((tile, position) => {
    const box = document.createElement(data.clickable ? 'button' : 'div');
    box.className = 'tile' + (tile.id === data.selected ? ' selected' : '') + (tile.dimmed ? ' dimmed' : '');
    const words = [tile.badge, tile.title, tile.note].filter(Boolean).join(', ');
    box.dataset.id = tile.id;
    box.title = tile.hint || words;
    box.setAttribute('aria-label', words);
    if (tile.id === data.selected) box.setAttribute('aria-current', 'true');
    const picture = document.createElement('div');
    picture.className = 'picture';
    picture.style.backgroundImage = 'url("' + data.sprite + '")';
    picture.style.backgroundSize = (w * columns) + 'px auto';
    const row = Math.floor(position / columns), column = position % columns;
    picture.style.backgroundPosition = (-column * w) + 'px ' + (-row * h) + 'px';
    if (tile.tone) {
      box.style.setProperty('--tone', tile.tone);
      box.style.setProperty('--edge', '3px');
    }
    if (tile.badge) picture.appendChild(text('badge', tile.badge));
    box.appendChild(picture);
    if (tile.title) box.appendChild(text('title', tile.title));
    if (tile.note) box.appendChild(text('note', tile.note));
    if (data.clickable && !data.markable) box.onclick = () => setTriggerValue('clicked', tile.id);
    if (data.markable) {
      picture.appendChild(text('check', ''));
      boxes.set(tile.id, box);
      box.onclick = (event) => {
        if (event.shiftKey || event.ctrlKey || event.metaKey || event.target.className === 'check') {
          mark(tile.id, event.shiftKey);
        } else {
          wall.dataset.anchor = tile.id;
          setTriggerValue('clicked', tile.id);
        }
      };
      box.onkeydown = (event) => {
        if (event.key !== ' ') return;
        event.preventDefault(); // not a click, and not a scroll
        event.stopPropagation();
        mark(tile.id, event.shiftKey);
      };
      box.onkeyup = (event) => { if (event.key === ' ') event.preventDefault(); };
    }
    const item = document.createElement('div');
    item.setAttribute('role', 'listitem');
    item.appendChild(box);
    return item;
  });
  // Whoever walks over the tiles by keyboard stays where they are when the page is drawn again.
  const focused = wall.getRootNode().activeElement?.dataset?.id;
  wall.replaceChildren(...tiles);
  if (data.markable) draw();
  if (focused && boxes.has(focused)) boxes.get(focused).focus({ preventScroll: true });
}
"""

_component = st.components.v2.component("backdoor_lens_gallery", css=_CSS, js=_JS)


@dataclass(frozen=True)
class Tile:
    """One picture. id: given back by a click. title, note: lines below it. badge: a word in its corner. tone: colour of
    badge and frame (from `ui.theme`, never from data). hint: tooltip, else the words together."""

    id: str
    title: str = ""
    note: str = ""
    badge: str = ""
    tone: str = ""
    dimmed: bool = False
    hint: str = ""


def gallery(
    pictures: np.ndarray,
    tiles: Sequence[Tile],
    *,
    key: str,
    label: str,
    size: int = 96,
    gap: int = 10,
    selected: str | None = None,
    on_click: Callable[[str], None] | None = None,
    clickable: bool = True,
    marks: Collection[str] = (),
    on_mark: Callable[[list[str], bool], None] | None = None,
) -> str | None:
    """Draw uint8 [N, H, W, 3] with N tiles, each about `size` pixels.

    Returns the id of the tile that was just clicked, if any; `on_click` gets it before the rerun already.
    marks: ids of the tiles that are selected. With `on_mark`, which gets ids and whether they were added, tiles can be
    selected.
    """
    small = images.thumbnails(pictures, size)
    height, width = small.shape[1:3] if len(small) else (1, 1)
    scale = max(1, size // max(height, width))
    known = {tile.id for tile in tiles}

    def clicked() -> None:
        chosen = st.session_state[key].get("clicked")
        if on_click is not None and chosen in known:
            on_click(str(chosen))

    def marked() -> None:
        found = st.session_state[key].get("marked")
        if on_mark is None or not isinstance(found, dict) or not isinstance(found.get("ids"), list):
            return
        ids = [one for one in found["ids"] if isinstance(one, str) and one in known]
        if ids:
            on_mark(ids, found.get("on") is True)

    columns = min(_SPRITE_COLUMNS, max(1, len(small)))
    sprite = _sprite_url(small.tobytes(), small.shape, columns) if len(small) else ""
    result = _component(
        key=key,
        data={
            "sprite": sprite,
            "columns": columns,
            "width": int(width),
            "height": int(height),
            "scale": scale,
            "gap": gap,
            "label": label,
            "selected": selected,
            "clickable": clickable,
            "markable": on_mark is not None,
            "tiles": [
                {
                    "id": tile.id,
                    "title": short(tile.title, 48) if tile.title else "",
                    "note": short(tile.note, 60) if tile.note else "",
                    "badge": short(tile.badge, 16) if tile.badge else "",
                    "hint": short(tile.hint, 300) if tile.hint else "",
                    "tone": tile.tone,
                    "dimmed": tile.dimmed,
                    "marked": tile.id in marks,
                }
                for tile in tiles
            ],
        },
        on_clicked_change=clicked,
        on_marked_change=marked,
    )
    chosen = result.get("clicked")
    return str(chosen) if chosen in known else None


@lru_cache(maxsize=16)
def _sprite_url(pixels: bytes, shape: tuple[int, ...], columns: int) -> str:
    """The composed picture as text. The same page of pictures is drawn again after every click."""
    small = np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    return images.data_url(images.sprite(small, columns), lossy=max(shape[1:3]) > 64)
