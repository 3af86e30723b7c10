"""What a run leaves: a table, JSON lines and pictures."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..context import Context, build_info
from .evaluation import Evaluation, LayerResult
from .memory import peak_of_process
from .svg import mask_map, needle_map

ASKED = {"prompt": "sparse prompt", "decode": "dense decode"}


def header(run: Evaluation, ctx: Context | None, arguments: list[str] | None = None) -> dict[str, Any]:
    """What every JSON line carries: with what, and how to repeat it."""
    info = build_info()
    return {
        **run.model.describe(), "version": info["version"], "commit": info.get("commit"), "isa": info["isa"]["active"],
        "threads": None if ctx is None else ctx.threads, "cpus": os.cpu_count(), "numpy": np.__version__,
        "python": platform.python_version(), "seed": run.seed, "depths": run.depths, "trials": run.trials,
        "asked": run.asked,
        "command": " ".join(["python -m tamis.eval", *(sys.argv[1:] if arguments is None else arguments)]),
    }


def rows(run: Evaluation) -> list[dict[str, Any]]:
    """One dict for each (length, method): None where it was not measured."""
    result = []
    for length in run.lengths:
        for method in run.methods:
            row: dict[str, Any] = {"length": length, "method": method.label, "options": method.shown()}
            recall = run.recall.cells.get((method.label, length))
            if recall is not None:
                low, high = recall.interval
                row.update(
                    accuracy=recall.accuracy, low=low, high=high, won=int(recall.won.sum()), asked=int(recall.asked.sum()),
                    won_by_depth=recall.won.tolist(), asked_by_depth=recall.asked.tolist(),
                    prompt_seconds=run.prompt_seconds.get((method.label, length)))
            layers = run.layers.get((method.label, length))
            if layers:
                row.update(layer_figures(layers))
            result.append(row)
    return result


def layer_figures(layers: list[LayerResult]) -> dict[str, Any]:
    """Means over layers and prompts; times are sums over the layers of a prompt; memory is the largest of a call."""
    prompts = max(1, sum(entry.layer == layers[0].layer for entry in layers))
    timed = [entry for entry in layers if entry.memory is not None] or layers
    memory = [entry.memory for entry in layers if entry.memory is not None]
    mean = lambda values: float(np.mean(list(values)))  # noqa: E731
    select, attend, dense = (sum(getattr(e, name) for e in layers) / prompts for name in ("select_ms", "attend_ms", "dense_ms"))
    by_layer = {
        e.layer: mean(x.comparison.retained for x in layers if x.layer == e.layer) for e in timed}
    return {
        "retained_mass": mean(e.comparison.retained for e in layers),
        "oracle_mass": mean(e.comparison.oracle for e in layers if e.comparison.oracle is not None),
        "retained_by_layer": by_layer, "output_error": mean(e.comparison.output_error for e in layers),
        "density": mean(e.comparison.density for e in layers),
        "share_of_all_tiles": mean(e.comparison.share_of_all_tiles for e in layers),
        "share_of_pairs": mean(e.comparison.share_of_pairs for e in layers), "select_ms": select, "attend_ms": attend,
        "dense_ms": dense, "speed_up": dense / (select + attend) if select + attend else None,
        "peak_bytes": max(memory) if memory else None,
    }


def table(run: Evaluation, head: dict[str, Any]) -> str:
    """The run as a Markdown table."""
    lines = [
        f"# tamis eval: {head['model']}", "",
        f"tamis {head['version']} ({head['commit']}, {head['isa']}), seed {run.seed}"
        + (f", {run.trials} questions at each of {run.depths} depths, asked in the {ASKED[run.asked]}" if run.trials else ""),
        "",
        "| length | method | needles [95 %] | worst depth | retained mass | of the oracle's | output error | density "
        "| of all tiles | select ms | attend ms | times dense | question s | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(run):
        cells = [str(row["length"]), row["method"]]
        if "accuracy" in row:
            share = [w / a for w, a in zip(row["won_by_depth"], row["asked_by_depth"]) if a]
            cells += [f"{row['accuracy']:.4f} [{row['low']:.4f}, {row['high']:.4f}]", f"{min(share):.3f}"]
        else:
            cells += ["", ""]
        if "retained_mass" in row:
            cells += [
                f"{row['retained_mass']:.4f}", f"{row['retained_mass'] / row['oracle_mass']:.4f}", f"{row['output_error']:.4f}",
                f"{row['density']:.3f}", f"{row['share_of_all_tiles']:.3f}", f"{row['select_ms']:.2f}",
                f"{row['attend_ms']:.2f}", f"{row['speed_up']:.2f}"]
        else:
            cells += [""] * 8
        seconds = row.get("prompt_seconds")
        cells += ["" if seconds is None else f"{seconds:.3f}"]
        peak = row.get("peak_bytes")
        cells += ["" if peak is None else f"{peak / 2**20:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"{method.label}: {json.dumps(method.shown())}  " for method in run.methods if method.shown())]
    return "\n".join(lines) + "\n"


def write(run: Evaluation, folder: Path, head: dict[str, Any]) -> list[Path]:
    """Writes eval.md, eval.jsonl, needles.svg and mask-*.svg; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "eval.md", folder / "eval.jsonl"]
    written[0].write_text(table(run, head))
    with open(written[1], "w") as file:
        for row in rows(run):
            file.write(json.dumps({**head, **row, "process_peak_bytes": peak_of_process()}) + "\n")
    labels = [method.label for method in run.methods]
    if run.recall.cells:
        written.append(folder / "needles.svg")
        written[-1].write_text(needle_map(
            run.recall, labels, run.lengths, f"{head['model']}: needles answered, {run.trials} questions a cell"))
    for picture in run.pictures:
        name = f"mask-{picture.method.replace('@', '-')}-{picture.length}.svg"
        written.append(folder / name)
        written[-1].write_text(mask_map(
            picture, f"{picture.method}, {picture.length} tokens, layer {picture.layer}, head {picture.head}"))
    return written
