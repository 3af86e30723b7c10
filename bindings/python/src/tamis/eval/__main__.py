"""The command line: see --help, and docs/eval.md of the project."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..context import Context
from ..errors import InvalidArgumentError, TamisError
from . import report
from .evaluation import Model, evaluate
from .haystack_model import HaystackModel
from .methods import NAMES, parse_methods

#: The haystack model's trained length is 512: blocks, sinks and bands of the published sizes would cover all of it.
SMALL: dict[str, dict[str, Any]] = {
    "": {"query_block": 16, "key_block": 8},
    "dhsa": {
        "sinks": 8, "local": 32, "instruction_tokens": 3, "share_boundaries": False,
        "boundary_options": {"query_block": 16, "instruction_tokens": 3},
    },
    "a_shape": {"sinks": 8, "local": 56},
    "vertical_slash": {"vertical": 32, "slash": 32, "sampled_rows": 32},
    "block_topk": {"max_blocks": 8},
    "flexprefill": {"min_budget": 32, "sampled_rows": 32},
}


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 2 with a sentence on standard error."""
    options = parser().parse_args(arguments)
    try:
        run(options, arguments)
    except (TamisError, ValueError, OSError) as error:
        print(f"tamis eval: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tamis eval", description="Needle accuracy, retained attention mass, output error, density, time and memory of "
        "sparse prefill methods on a model. Writes eval.md, eval.jsonl, needles.svg and mask-*.svg.")
    p.add_argument("--model", default="haystack",
                   help="haystack (shipped), haystack:FOLDER, or a folder or name that transformers loads (haystack)")
    p.add_argument("--methods", nargs="+", default=["dense", "dhsa_topk", "dhsa", "block"], metavar="METHOD",
                   help=f"{', '.join(NAMES)}; METHOD@variant is a second one with settings of its own")
    p.add_argument("--set", nargs="+", action="extend", default=[], dest="settings", metavar="[METHOD.]OPTION=VALUE",
                   help="an option of tamis.SparseOptions, for all methods or for one: dhsa.query_block=32, dhsa.predictor=PATH; "
                   "null takes a default back")
    p.add_argument("--lengths", nargs="+", type=int, default=[256, 512], metavar="N",
                   help="tokens, question and answer included")
    p.add_argument("--depths", type=int, default=10, help="depths of the needle, evenly spaced (10)")
    p.add_argument("--density", type=float, default=0.125, help="of the methods whose budget it is (0.125)")
    p.add_argument("--trials", type=int, default=20, help="questions at each depth and length; 0: no needles (20)")
    p.add_argument("--asked", choices=["prompt", "decode"], default="prompt",
                   help="prompt: text and question are one sparse prefill; decode: the question is decoded, densely (prompt)")
    p.add_argument("--prompts", type=int, default=1, help="prompts of each length whose tensors are compared; 0: none (1)")
    p.add_argument("--repeats", type=int, default=5, help="timed rounds (5)")
    p.add_argument("--layers", nargs="+", type=int, help="layers that are compared (all)")
    p.add_argument("--mask-layer", type=int, help="layer whose mask is drawn (the second)")
    p.add_argument("--mask-head", type=int, default=0, help="and its query head (0)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=0, help="0: all cores (0)")
    p.add_argument("--text", type=Path,
                   help="a transformers model: the text that hides the needle (that of the haystack model)")
    p.add_argument("--chat", action="store_true", help="a transformers model: prompts in its chat template")
    p.add_argument("--dtype", default="auto", help="a transformers model: float32, bfloat16, float16 (the checkpoint's)")
    p.add_argument("--out", type=Path, default=Path("build/eval"), help="folder of the results (build/eval)")
    return p


def run(options: argparse.Namespace, arguments: list[str] | None = None) -> None:
    for name, least in (("depths", 1), ("trials", 0), ("prompts", 0), ("repeats", 1), ("threads", 0), ("mask_head", 0)):
        if getattr(options, name) < least:
            raise InvalidArgumentError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected at least {least}")
    ctx = Context(threads=options.threads)
    model, defaults = open_model(options, ctx)
    shipped = model.predictor_path()
    if shipped is not None:
        defaults = {**defaults, "dhsa": {**defaults.get("dhsa", {}), "predictor": shipped}}
    methods = parse_methods(options.methods, options.settings, density=options.density, defaults=defaults, ctx=ctx)
    layer = options.mask_layer
    if layer is None:
        layer = 1 if options.layers is None else min(options.layers)
    result = evaluate(
        model, methods, options.lengths, depths=options.depths, trials=options.trials, seed=options.seed,
        asked=options.asked, prompts=options.prompts, repeats=options.repeats, layers=options.layers,
        picture=(layer, options.mask_head), ctx=ctx)
    head = report.header(result, ctx, arguments)
    written = report.write(result, options.out, head)
    print(report.table(result, head))
    print("written: " + ", ".join(str(path) for path in written))


def open_model(options: argparse.Namespace, ctx: Context) -> tuple[Model, dict[str, dict[str, Any]]]:
    """The model, and the methods' options that its size asks for."""
    kind, _, folder = options.model.partition(":")
    if kind == "haystack":
        return HaystackModel(folder or None, ctx=ctx), SMALL
    try:
        from .transformers_model import TransformersModel
    except ImportError as missing:
        raise InvalidArgumentError(
            f"--model {options.model} needs torch and transformers (pip install torch transformers): {missing}. Only 'haystack' "
            "works without them") from None
    return TransformersModel(options.model, text=options.text, chat=options.chat, dtype=options.dtype, ctx=ctx), {}


if __name__ == "__main__":
    sys.exit(main())
