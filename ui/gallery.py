"""A gallery of small pictures as one element: one sprite, captions, badges, and a click that names the picture.

Hundreds of separate images and buttons would make every rerun slow. Texts reach the browser as data and are set as
text content, never as markup, so names of classes and files may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
  const tiles = data.tiles.map((tile, position) => {
    const box = document.createElement(data.clickable ? 'button' : 'div');
    box.className = 'tile' + (tile.id === data.selected ? ' selected' : '') + (tile.dimmed ? ' dimmed' : '');
    const words = [tile.badge, tile.title, tile.note].filter(Boolean).join(', ');
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
    if (data.clickable) box.onclick = () => setTriggerValue('clicked', tile.id);
    const item = document.createElement('div');
    item.setAttribute('role', 'listitem');
    item.appendChild(box);
    return item;
  });
  wall.replaceChildren(...tiles);
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
) -> str | None:
    """Draw uint8 [N, H, W, 3] with N tiles, each about `size` pixels.

    Returns the id of the tile that was just clicked, if any; `on_click` gets it before the rerun already.
    """
    small = images.thumbnails(pictures, size)
    height, width = small.shape[1:3] if len(small) else (1, 1)
    scale = max(1, size // max(height, width))
    known = {tile.id for tile in tiles}

    def clicked() -> None:
        chosen = st.session_state[key].get("clicked")
        if on_click is not None and chosen in known:
            on_click(str(chosen))

    columns = min(_SPRITE_COLUMNS, max(1, len(small)))
    sprite = images.data_url(images.sprite(small, columns), lossy=max(height, width) > 64) if len(small) else ""
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
            "tiles": [
                {
                    "id": tile.id,
                    "title": short(tile.title, 48) if tile.title else "",
                    "note": short(tile.note, 60) if tile.note else "",
                    "badge": short(tile.badge, 16) if tile.badge else "",
                    "hint": short(tile.hint, 300) if tile.hint else "",
                    "tone": tile.tone,
                    "dimmed": tile.dimmed,
                }
                for tile in tiles
            ],
        },
        on_clicked_change=clicked,
    )
    chosen = result.get("clicked")
    return str(chosen) if chosen in known else None
