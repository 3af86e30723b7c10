"""What a run of Needle Threading or CharBench leaves: a table, JSON lines and a picture."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..context import Context, build_info
from .needle_threading import KINDS
from .svg import GridPanel, accuracy_map
from .tasks import CharBenchRun, Configuration, ReplyingModel, TaskRun, rows_of

WORDINGS = {
    "page": "texts of UUID pairs (arXiv 2411.05000), our own wording of the questions",
    "template": "texts of UUID pairs (arXiv 2411.05000), the caller's wording of the questions",
    "own": "the haystack model's own wording: needles of words in a text of words",
}


def header(model: ReplyingModel, ctx: Context | None, task: str, arguments: list[str] | None = None) -> dict[str, Any]:
    """What every JSON line carries."""
    info = build_info()
    return {
        **model.describe(), "task": task, "version": info["version"], "commit": info.get("commit"),
        "isa": info["isa"]["active"], "threads": None if ctx is None else ctx.threads, "cpus": os.cpu_count(),
        "numpy": np.__version__, "python": platform.python_version(), "token_limit": model.token_limit(),
        "command": " ".join(["python -m tamis.eval", *(sys.argv[1:] if arguments is None else arguments)]),
    }


def _program(head: dict[str, Any]) -> str:
    return f"tamis {head['version']} ({head['commit']}, {head['isa']})"


def effective_rows(run: TaskRun) -> list[dict[str, Any]]:
    """Effective context length in characters: of every configuration, and of every kind over those of its configurations that
    were asked at every length."""
    found = []
    limit = run.model.token_limit()
    in_characters = None if limit is None else round(limit * run.characters_per_token)
    for method in run.methods:
        for kind in dict.fromkeys(c.kind for c in run.configurations):
            own = [c for c in run.configurations if c.kind == kind]
            groups: list[tuple[str, list[Configuration]]] = [(c.label, [c]) for c in own]
            common = [c for c in own if all((method.label, c, length) in run.cells for length in run.lengths)]
            if common:
                groups.append(("all" if len(common) == len(own) else f"{len(common)} of {len(own)} settings", common))
            for label, chosen in groups:
                length = run.effective(method.label, chosen)
                if length is not None:
                    found.append({
                        "method": method.label, "kind": kind, "parameter": label, "effective_characters": length,
                        "limit_characters": in_characters,
                        "share_of_limit": None if not in_characters else length / in_characters})
    return found


def rows(run: TaskRun) -> list[dict[str, Any]]:
    """One dict for each (method, configuration, length)."""
    found = []
    for method, configuration, length, cell in rows_of(run):
        low, high = cell.interval
        pairs, characters, tokens = run.texts[length]
        found.append({
            "method": method, "kind": configuration.kind, "parameter": configuration.label, **dict(configuration.options),
            "length": length, "pairs": pairs, "characters": characters, "tokens": tokens, "trials": cell.trials,
            "won": cell.won, "matched": cell.matched, "expected": cell.expected, "accuracy": cell.accuracy, "low": low,
            "high": high, "f1": cell.f1 / cell.trials, "seconds": float(np.median(cell.seconds)), "sample": cell.sample})
    return found


def table(run: TaskRun, head: dict[str, Any]) -> str:
    """The run as Markdown."""
    limit, rate = head["token_limit"], run.characters_per_token
    lines = [
        f"# tamis eval, Needle Threading: {head['model']}", "",
        f"{_program(head)}, {run.repeats} texts of each length; {WORDINGS[run.wording]}; {rate:.2f} characters a token "
        f"({run.prose_characters_per_token:.2f} of prose)"
        + ("" if limit is None else f", so the limit of {limit} tokens is {round(limit * rate)} characters"),
        "",
        "| method | task | parameter | length | pairs | characters | accuracy [95 %] | all found | F1 | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(run):
        lines.append(
            f"| {row['method']} | {row['kind']} | {row['parameter']} | {row['length']} | {row['pairs']} | {row['characters']} "
            f"| {row['accuracy']:.4f} [{row['low']:.4f}, {row['high']:.4f}] | {row['won']} of {row['trials']} "
            f"| {row['f1']:.4f} | {row['seconds']:.3f} |")
    lines += [
        "", "Effective context length: characters at which accuracy falls below 75 %.", "",
        "| method | task | parameter | characters | of the limit |", "|---|---|---|---|---|"]
    for row in effective_rows(run):
        share = "" if row["share_of_limit"] is None else f"{row['share_of_limit']:.1%}"
        lines.append(
            f"| {row['method']} | {row['kind']} | {row['parameter']} | {row['effective_characters']:.0f} | {share} |")
    return "\n".join(lines) + "\n"


def panels(run: TaskRun) -> list[GridPanel]:
    """Accuracy by parameter and context of every method and kind."""
    found = []
    columns = [f"{run.texts[length][1]}" for length in run.lengths]
    for method in run.methods:
        for kind in [kind for kind in KINDS if any(c.kind == kind for c in run.configurations)]:
            own = [c for c in run.configurations if c.kind == kind]
            shares, tips = np.full((len(own), len(columns)), np.nan), {}
            for i, configuration in enumerate(own):
                for j, length in enumerate(run.lengths):
                    cell = run.cells.get((method.label, configuration, length))
                    if cell is not None:
                        shares[i, j] = cell.accuracy
                        tips[i, j] = f"{configuration.label}, {columns[j]} characters: {cell.matched} of {cell.expected}"
            title = kind if len(run.methods) == 1 else f"{kind}, {method.label}"
            found.append(GridPanel(title, [c.label for c in own], columns, shares, tips))
    return found


def write(run: TaskRun, folder: Path, head: dict[str, Any]) -> list[Path]:
    """Writes eval.md, eval.jsonl and accuracy.svg; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "eval.md", folder / "eval.jsonl", folder / "accuracy.svg"]
    written[0].write_text(table(run, head))
    head = {
        **head, "wording": run.wording, "characters_per_token": run.characters_per_token,
        "prose_characters_per_token": run.prose_characters_per_token}
    with open(written[1], "w") as file:
        for row in rows(run):
            file.write(json.dumps({**head, **row}) + "\n")
        for row in effective_rows(run):
            file.write(json.dumps({**head, **row}) + "\n")
    written[2].write_text(accuracy_map(
        panels(run), f"{head['model']}: answers found, {run.repeats} texts a cell", "characters of the text"))
    return written


# ------------------------------------------------------------------------------------------------------ CharBench


def charbench_table(run: CharBenchRun, head: dict[str, Any]) -> str:
    """The run as Markdown."""
    lines = [
        f"# tamis eval, CharBench: {head['model']}", "",
        f"{_program(head)}, {len(run.bench)} rows; our own wording of the questions", "",
        "| method | task | rows | accuracy | ± | bias | r(word_length) | r(number_of_tokens) | r(compression_rate) "
        "| r(target_token_length) | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in run.methods:
        for task, found in run.figures[method.label].items():
            r = found["pearson"]
            cells = [
                method.label, task, str(found["n"]), f"{found['accuracy']:.4f}", f"{found['standard_error']:.4f}",
                _number(found["bias"]), *(_number(r.get(f, math.nan)) for f in (
                    "word_length", "number_of_tokens", "compression_rate", "target_token_length")),
                f"{run.seconds[method.label]:.3f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _json(value: Any) -> Any:
    """NaN as null."""
    if isinstance(value, dict):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_charbench(run: CharBenchRun, folder: Path, head: dict[str, Any]) -> list[Path]:
    """Writes eval.md and eval.jsonl (a line for each method and task, then a line for each row); returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "eval.md", folder / "eval.jsonl"]
    written[0].write_text(charbench_table(run, head))
    with open(written[1], "w") as file:
        for method in run.methods:
            for task, found in run.figures[method.label].items():
                file.write(json.dumps(_json({**head, "method": method.label, "charbench_task": task, **found})) + "\n")
            for i, said in enumerate(run.replies[method.label]):
                file.write(json.dumps({"method": method.label, "row": i, **vars(run.bench[i]), "reply": said}) + "\n")
    return written
