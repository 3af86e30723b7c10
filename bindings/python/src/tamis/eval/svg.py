"""Heat maps as SVG, written by hand: numpy is all they need, so every machine gives the same files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from .evaluation import Picture
from .needles import RecallTable

_FONT = 'font-family="Helvetica, Arial, sans-serif"'
#: From nothing to all: a ramp whose lightness falls evenly.
_RAMP = np.array([(253, 246, 227), (250, 205, 140), (240, 140, 90), (200, 75, 85), (130, 40, 105), (50, 20, 80)], float)
_NO_DATA = "#e4e4e4"


def colour(share: float) -> str:
    """Colour of a number from 0 to 1."""
    at = float(np.clip(share, 0, 1)) * (len(_RAMP) - 1)
    i = min(int(at), len(_RAMP) - 2)
    r, g, b = np.rint(_RAMP[i] + (at - i) * (_RAMP[i + 1] - _RAMP[i])).astype(int)
    return f"#{r:02x}{g:02x}{b:02x}"


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "middle", fill: str = "#222", extra: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" {extra}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, fill: str, extra: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{" " if extra else ""}{extra}/>'


def _document(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f"{_FONT}>\n"
        + _rect(0, 0, width, height, "white") + "\n" + "\n".join(parts) + "\n</svg>\n")


def _legend(x: float, y: float, width: float, low: str, high: str, title: str) -> list[str]:
    """A bar of the ramp with its ends named."""
    steps = 48
    parts = [_rect(x + i * width / steps, y, width / steps + 0.5, 9, colour((i + 0.5) / steps)) for i in range(steps)]
    names = ((x, low, "start"), (x + width, high, "end"), (x + width / 2, title, "middle"))
    return parts + [_text(at, y + 20, text, 9, anchor) for at, text, anchor in names]


def needle_map(table: RecallTable, methods: Sequence[str], lengths: Sequence[int], title: str) -> str:
    """Needle accuracy, depth by length, a panel for each method."""
    cell_w, cell_h, gap, left, top = 52, 20, 26, 62, 58
    columns = max(1, min(len(methods), max(1, 900 // (cell_w * len(lengths) + gap))))
    panel_w, panel_h = cell_w * len(lengths), cell_h * table.depths
    step_x, step_y = panel_w + gap, panel_h + 58
    rows = -(-len(methods) // columns)
    width = max(left + columns * step_x + 6, 340)
    height = top + rows * step_y + 22
    parts = [_text(12, 20, title, 13, "start", extra='font-weight="bold"')]
    for number, method in enumerate(methods):
        x0, y0 = left + number % columns * step_x, top + number // columns * step_y
        parts.append(_text(x0 + panel_w / 2, y0 - 8, method, 12))
        for j, length in enumerate(lengths):
            recall = table.cells.get((method, length))
            for d in range(table.depths):
                share = float("nan") if recall is None or not recall.asked[d] else recall.won[d] / recall.asked[d]
                x, y = x0 + j * cell_w, y0 + d * cell_h
                hint = f"{method}, {length} tokens, depth {(d + 0.5) / table.depths:.0%}"
                tip = "" if recall is None else f"{hint}: {recall.won[d]} of {recall.asked[d]}"
                parts.append(
                    f"<g><title>{escape(tip or hint)}</title>"
                    + _rect(x, y, cell_w, cell_h, _NO_DATA if np.isnan(share) else colour(share), 'stroke="white"')
                    + ("" if np.isnan(share) else _text(
                        x + cell_w / 2, y + cell_h / 2 + 4, _percent(share), 10, fill="white" if share > 0.45 else "#222"))
                    + "</g>")
            parts.append(_text(x0 + (j + 0.5) * cell_w, y0 + panel_h + 13, str(length), 10))
        parts.append(_text(x0 + panel_w / 2, y0 + panel_h + 27, "tokens", 10))
        if number % columns == 0:
            for d in range(table.depths):
                parts.append(_text(x0 - 6, y0 + (d + 0.5) * cell_h + 4, f"{(d + 0.5) / table.depths:.0%}", 10, "end"))
            middle = y0 + panel_h / 2
            parts.append(_text(18, middle, "depth of the needle", 10, extra=f'transform="rotate(-90 18 {middle:g})"'))
    parts += _legend(left, height - 30, 150, "0", "100 %", "answered")
    return _document(width, height, parts)


@dataclass
class GridPanel:
    """Shares by row and column; NaN where nothing was asked. `tips` are what a pointer shows, by (row, column)."""

    title: str
    rows: list[str]
    columns: list[str]
    #: float [rows, columns]
    shares: np.ndarray
    tips: dict[tuple[int, int], str]


def accuracy_map(panels: Sequence[GridPanel], title: str, below: str) -> str:
    """Accuracy, parameter of the task by context, a panel for each kind and method, one under another. below: what the columns
    are."""
    cell_w, cell_h, left, top, foot = 62, 20, 196, 58, 52
    width = max(left + cell_w * max((len(p.columns) for p in panels), default=1) + 14, 380)
    parts, y0 = [_text(12, 20, title, 13, "start", extra='font-weight="bold"')], top
    for panel in panels:
        parts.append(_text(left, y0 - 8, panel.title, 12, "start"))
        for i, name in enumerate(panel.rows):
            parts.append(_text(left - 6, y0 + (i + 0.5) * cell_h + 4, name, 10, "end"))
            for j in range(len(panel.columns)):
                share, x, y = float(panel.shares[i, j]), left + j * cell_w, y0 + i * cell_h
                parts.append(
                    f"<g><title>{escape(panel.tips.get((i, j), 'not asked'))}</title>"
                    + _rect(x, y, cell_w, cell_h, _NO_DATA if np.isnan(share) else colour(share), 'stroke="white"')
                    + ("" if np.isnan(share) else _text(
                        x + cell_w / 2, y + cell_h / 2 + 4, _percent(share), 10, fill="white" if share > 0.45 else "#222"))
                    + "</g>")
        y0 += cell_h * len(panel.rows)
        for j, name in enumerate(panel.columns):
            parts.append(_text(left + (j + 0.5) * cell_w, y0 + 13, name, 10))
        parts.append(_text(left + cell_w * len(panel.columns) / 2, y0 + 27, below, 10))
        y0 += foot
    parts += _legend(left, y0 - 14, 150, "0", "100 %", "found")
    return _document(width, y0 + 14, parts)


def _percent(share: float) -> str:
    """Never 100 unless all were won, never 0 unless none was."""
    shown = f"{100 * share:.1f}"
    if share < 1 and shown == "100.0":
        shown = "99.9"
    return shown.removesuffix(".0")


def mask_map(picture: Picture, title: str) -> str:
    """Two panels, query blocks by key tiles: where the head's dense mass lies, and which tiles the method lists. Colours of
    mass are logarithmic, from a ten-thousandth of a row to all of it; listed tiles carry the colour of their mass; a frame marks the
    tiles of the needle."""
    blocks, tiles = picture.listed.shape
    scale = max(0.5, min(12.0, 420 / max(tiles, blocks * picture.query_block / picture.key_block)))
    cell_w = scale
    cell_h = scale * picture.query_block / picture.key_block
    panel_w, panel_h, left, top, gap = cell_w * tiles, cell_h * blocks, 46, 62, 34
    width, height = max(left + 2 * panel_w + gap + 14, 520), top + panel_h + 78
    share = np.log10(np.maximum(picture.mass, 1e-4)) / 4 + 1
    kept = (picture.mass * picture.listed).sum(1).mean()
    parts = [_text(12, 20, title, 13, "start", extra='font-weight="bold"')]
    legal = np.arange(tiles)[None] * picture.key_block < (np.arange(blocks)[:, None] + 1) * picture.query_block
    drawn = {
        "dense attention": (legal, 0.0),
        f"listed: {picture.listed.sum() / max(legal.sum(), 1):.1%} of the legal tiles, {kept:.1%} of the mass":
            (picture.listed, 0.18),
    }
    for number, (name, (shown, least)) in enumerate(drawn.items()):
        x0 = left + number * (panel_w + gap)
        parts.append(_text(x0 + panel_w / 2, top - 10, name, 11))
        parts.append(_rect(x0, top, panel_w, panel_h, "#fafafa", 'stroke="#999" stroke-width="0.6"'))
        shades = np.round(np.maximum(share, least) * 40).astype(int)
        for b in range(blocks):
            begin = 0
            # Neighbours of one shade are one rectangle.
            while begin < tiles:
                if not shown[b, begin]:
                    begin += 1
                    continue
                end = begin + 1
                while end < tiles and shown[b, end] and shades[b, end] == shades[b, begin]:
                    end += 1
                parts.append(_rect(
                    x0 + begin * cell_w, top + b * cell_h, (end - begin) * cell_w, cell_h, colour(shades[b, begin] / 40)))
                begin = end
        first = picture.needle[0] // picture.key_block
        last = max(first, (picture.needle[1] - 1) // picture.key_block)
        parts.append(_rect(
            x0 + first * cell_w, top, (last - first + 1) * cell_w, panel_h, "none", 'stroke="#1f77b4" stroke-width="0.8"'))
        parts.append(_text(x0 + (first + last + 1) / 2 * cell_w, top + panel_h + 12, "needle", 9, fill="#1f77b4"))
        parts.append(_text(x0 + panel_w / 2, top + panel_h + 26, f"key tiles of {picture.key_block}", 10))
    middle = top + panel_h / 2
    parts.append(_text(
        20, middle, f"query blocks of {picture.query_block}", 10, extra=f'transform="rotate(-90 20 {middle:g})"'))
    parts += _legend(left, top + panel_h + 40, 170, "1e-4", "1", "mass of a row, log scale")
    return _document(width, height, parts)
