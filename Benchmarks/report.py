"""The tables and the plot of a run."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from pathlib import Path

import matplotlib
import numpy
import torch

import tamis

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402


def machine(options, ceilings, ctx) -> dict:
    """What every line of the JSON carries: where, with what, how to repeat it."""
    info = tamis.build_info()
    return {
        "commit": info.get("commit"), "version": info["version"], "isa": info["isa"]["active"], "device": ctx.device_name,
        "cpu": cpu_name(), "threads": options.threads, "torch": torch.__version__, "numpy": numpy.__version__,
        "python": platform.python_version(), "quick": options.quick, "command": " ".join(["Benchmarks/run.sh", *sys.argv[1:]]),
        "ceilings": asdict(ceilings),
    }


def cpu_name() -> str:
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def markdown(header: dict, rows: list[dict]) -> str:
    c = header["ceilings"]
    lines = [
        f"# Benchmarks: tamis {header['version']} ({header['commit']}), {header['device']}, {header['threads']} threads",
        "",
        f"{header['cpu']}; torch {header['torch']}, numpy {header['numpy']}. Measured ceilings: read {c['bandwidth']:.1f} GB/s "
        f"({c['bandwidth_by']}), sgemm {c['sgemm']:.0f} GFLOP/s ({c['sgemm_by']}), bf16 gemm {c['bf16gemm']:.0f} GFLOP/s (torch).",
        "",
        "Times are milliseconds, median (min), contestants interleaved. A ratio is the peer's median over ours. `error` is the "
        "largest absolute error of sampled rows against float64. " + ("**Small shapes (--quick): not a result.**" if header["quick"] else ""),
        "",
        f"    {header['command']}",
    ]
    for area in dict.fromkeys(r["area"] for r in rows):
        lines += ["", f"## {area}", "", "| case | ours | peer | ratio | goal | rate | of ceiling | error | |",
                  "|---|---|---|---|---|---|---|---|---|"]
        for r in rows:
            if r["area"] == area:
                lines.append("| " + " | ".join(cells(r)) + " |")
    return "\n".join(lines) + "\n"


def cells(r: dict) -> list[str]:
    peer = "" if r["peer_median"] is None else f"{r['peer_median']:.3g} ({r['peer_min']:.3g}) {r['peer']}"
    return [
        r["case"], f"{r['ours_median']:.3g} ({r['ours_min']:.3g})", peer,
        ", ".join(f"{x:.2f} x {name}" for name, x in r["ratios"].items()), r["goal"],
        "" if r["rate"] is None else f"{r['rate']:.3g} {r['unit']}", "" if r["share"] is None else f"{100 * r['share']:.0f} %",
        "" if r["error"] is None else f"{r['error']:.1e}", r["note"],
    ]


def bar(row: dict) -> str:
    """Name of a row's bar; a bar each, so it must tell rows apart."""
    words = row["area"].split()
    case = row["case"].split(", ")
    own = [case[0], *case[-2:]] if row["area"].startswith("Sparse") else case[-1:]
    return f"{words[0]} {words[-1]}: {', '.join(own)}"


def plot(rows: list[dict], path: Path) -> None:
    """Left: how many times faster than torch; right: a decode step at growing lengths."""
    faster = [r for r in rows if "torch" in r["ratios"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, max(4.2, 0.26 * len(faster))), width_ratios=(1.2, 1))
    names = [bar(r) for r in faster]
    left.barh(names, [r["ratios"]["torch"] for r in faster], color="#4477aa")
    for i, r in enumerate(faster):
        left.text(r["ratios"]["torch"], i, f" {r['ratios']['torch']:.1f}", va="center", fontsize=8)
    left.axvline(1, color="black", linewidth=0.8)
    left.margins(x=0.1)
    left.invert_yaxis()
    left.set_xlabel("times faster than torch's scaled_dot_product_attention (dense)")
    series: dict[str, list[tuple[int, float]]] = {}
    for r in rows:
        if r["area"].startswith("Growth"):
            tokens, name = r["case"].split(" tokens, ", 1)
            series.setdefault(name, []).append((int(tokens), r["ours_median"]))
    for name, points in series.items():
        right.plot(*zip(*points), marker="o", label=name)
    if series:
        right.set_xscale("log", base=2)
        right.set_yscale("log")
        right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    right.set_xlabel("tokens in the cache")
    right.set_ylabel("ms per decode step, one layer")
    figure.tight_layout()
    figure.savefig(path)
