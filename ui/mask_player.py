"""The rounds of a mask as an animation that runs in the browser: nothing is asked of the server while it plays.

All rounds travel once, as bytes. A canvas mixes two of them on the way from one round to the next, in the colours
of `mspc_core.pictures.overlay`. It stops at the last round, jumps instead of fading where the reader asked for less
motion, and its slider takes the arrow keys. Texts are set as text, never as markup.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import streamlit as st

from ui import images
from ui.text import short

LARGEST = 128  # pixels of a frame's side; larger masks are thinned out

_CSS = """
.player { font-family: var(--st-font); color: var(--st-text-color); display: flex; flex-direction: column; gap: 10px;
  padding: 3px; }
.controls { display: flex; align-items: center; gap: 12px; max-width: 640px; }
.controls button { font: inherit; font-size: 14px; min-width: 92px; padding: 6px 14px; border-radius: 8px;
  color: var(--st-text-color); background: transparent; border: 1px solid var(--st-border-color); cursor: pointer; }
.controls button:hover { border-color: var(--st-primary-color); }
.controls button:focus-visible, .controls input:focus-visible { outline: 2px solid var(--st-primary-color);
  outline-offset: 2px; }
.controls input { flex: 1; accent-color: var(--st-primary-color); min-width: 80px; }
.caption { font-size: 14px; line-height: 20px; min-height: 20px; font-variant-numeric: tabular-nums; }
.stage { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; }
.others { display: grid; grid-template-columns: repeat(3, max-content); gap: 10px 12px; }
figure { margin: 0; }
figcaption { font-size: 12px; line-height: 16px; margin-top: 3px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
canvas { image-rendering: pixelated; border-radius: 5px; display: block;
  box-shadow: 0 0 0 1px var(--st-border-color); }
"""

_JS = """
const HOLD = 750, FADE = 450;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export default function(component) {
  const { parentElement, data } = component;
  if (!data) return;
  const kept = parentElement.querySelector('.player');
  if (kept && kept.dataset.token === data.token) return;   // a rerun of the page changes nothing here
  if (kept) { cancelAnimationFrame(kept.frame); kept.remove(); }

  const { rounds, width, height, names, last } = data;
  const masks = rounds.map(bytes), palette = bytes(data.palette), area = width * height;
  const player = document.createElement('div');
  player.className = 'player';
  player.dataset.token = data.token;
  const make = (kind, into, className) => {
    const made = document.createElement(kind);
    if (className) made.className = className;
    into.appendChild(made);
    return made;
  };
  const controls = make('div', player, 'controls');
  const button = make('button', controls);
  button.type = 'button';
  const slider = make('input', controls);
  Object.assign(slider, { type: 'range', min: 0, max: last, step: 1, value: last, disabled: last === 0 });
  slider.setAttribute('aria-label', 'Round');
  button.disabled = last === 0;
  const caption = make('div', player, 'caption');
  caption.setAttribute('aria-live', 'polite');
  const stage = make('div', player, 'stage'), alone = make('div', stage), others = make('div', stage, 'others');

  const draw = [];
  const canvas = (label, size, into) => {
    const figure = make('figure', into), drawn = make('canvas', figure), words = make('figcaption', figure);
    const scale = Math.max(1, Math.floor(size / Math.max(width, height)));
    Object.assign(drawn, { width, height });
    drawn.style.width = width * scale + 'px';
    drawn.style.height = height * scale + 'px';
    words.style.width = width * scale + 'px';
    words.textContent = label;
    drawn.setAttribute('role', 'img');
    drawn.setAttribute('aria-label', label);
    return drawn.getContext('2d');
  };
  const heat = canvas('the mask', 288, alone), heated = heat.createImageData(width, height);
  draw.push((weights) => {
    for (let i = 0; i < area; i++) {
      const at = 3 * Math.round(weights[i] * 255);
      heated.data.set([palette[at], palette[at + 1], palette[at + 2], 255], 4 * i);
    }
    heat.putImageData(heated, 0, 0);
  });
  const pictures = bytes(data.pictures);
  data.titles.forEach((title, number) => {
    const place = canvas(title, 128, others), mixed = place.createImageData(width, height), start = 3 * area * number;
    draw.push((weights, top) => {
      for (let i = 0; i < area; i++) {
        const inside = top >= data.collapsed && weights[i] > data.cut * top;
        const at = 3 * Math.round((0.4 + 0.6 * weights[i] / Math.max(top, 1e-9)) * 255);
        const share = inside ? data.opacity : 0, shade = inside ? 1 : 1 - 0.55 * data.opacity;
        for (let c = 0; c < 3; c++)
          mixed.data[4 * i + c] = pictures[start + 3 * i + c] * (1 - share) * shade + palette[at + c] * share;
        mixed.data[4 * i + 3] = 255;
      }
      place.putImageData(mixed, 0, 0);
    });
  });

  const weights = new Float32Array(area);
  let position = last, playing = false, since = 0;
  const show = () => {
    const low = Math.floor(position), high = Math.min(last, low + 1), part = position - low;
    let top = 0;
    for (let i = 0; i < area; i++) {
      weights[i] = (masks[low][i] * (1 - part) + masks[high][i] * part) / 255;
      if (weights[i] > top) top = weights[i];
    }
    draw.forEach((one) => one(weights, top));
    const near = Math.round(position);
    slider.value = near;
    slider.setAttribute('aria-valuetext', names[near]);
    if (caption.textContent !== names[near]) caption.textContent = names[near];
  };
  const label = () => { button.textContent = playing ? '⏸ Pause' : '▶ Play'; };
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  const step = (now) => {
    if (!playing || !player.isConnected) return;
    const passed = Math.max(0, now - since);  // the time of a frame may lie before the click that it follows
    const turn = HOLD + FADE, round = Math.floor(passed / turn);
    const within = Math.max(0, (passed - round * turn - HOLD) / FADE);
    const eased = calm ? 0 : within * within * (3 - 2 * within);
    position = Math.min(last, round + eased);
    if (position >= last) { playing = false; label(); }
    show();
    if (playing) player.frame = requestAnimationFrame(step);
  };
  button.onclick = () => {
    playing = !playing;
    if (playing) {
      const from = position >= last ? 0 : Math.floor(position);
      since = performance.now() - from * (HOLD + FADE);
      player.frame = requestAnimationFrame(step);
    }
    label();
  };
  slider.oninput = () => { playing = false; label(); position = Number(slider.value); show(); };
  parentElement.appendChild(player);
  label();
  show();
}
"""

_component = st.components.v2.component("backdoor_lens_mask_player", css=_CSS, js=_JS)


def frames(rounds: np.ndarray) -> np.ndarray:
    """Masks as bytes, small enough to travel: float [R, H, W] in [0, 1] → uint8 [R, h, w]."""
    step = max(1, -(-max(rounds.shape[1:]) // LARGEST))
    return np.round(np.nan_to_num(rounds[:, ::step, ::step]).clip(0, 1) * 255).astype(np.uint8)


def player(
    rounds: np.ndarray,
    names: Sequence[str],
    pictures: np.ndarray | None,
    titles: Sequence[str],
    *,
    key: str,
    cut: float = 0.2,
    opacity: float = 0.6,
) -> None:
    """Draw the animation. rounds: float [R, H, W] in [0, 1]; names: a line for each round; pictures: uint8 [N, H, W,
    3], images to lay the mask on, with a title each, or None."""
    masks = frames(rounds)
    height, width = masks.shape[1:]
    shown = np.zeros((0, height, width, 3), np.uint8)
    if pictures is not None and len(pictures):
        step = max(1, -(-max(rounds.shape[1:]) // LARGEST))
        shown = pictures[:, ::step, ::step]
    token = f"{hash((masks.tobytes(), shown.tobytes(), tuple(names), tuple(titles), cut, opacity))}"
    _component(
        key=key,
        data={
            "token": token,
            "rounds": [_text(mask) for mask in masks],
            "pictures": _text(shown),
            "palette": _text(images.heat(np.linspace(0, 1, 256)[None])[0]),
            "width": int(width),
            "height": int(height),
            "last": len(masks) - 1,
            "names": [short(name, 160) for name in names],
            "titles": [short(title, 40) for title in titles[: len(shown)]],
            "cut": cut,
            "opacity": opacity,
            "collapsed": images.COLLAPSED,
        },
    )


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
