"""A Hugging Face model with attention in libtamis: the same model read densely and with a method of your choice.

    pip install "tamis[transformers]"
    python transformers_model.py                                             # the haystack model of this repository
    python transformers_model.py --model PATH --text-file text.txt --question "In short:" --prefill dhsa_topk --density 0.125
"""

import argparse
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import tamis.integrations.transformers as tt

HAYSTACK = Path(__file__).resolve().parents[2] / "Models" / "haystack"


def haystack_text(tokens: int) -> str:
    """A long text that says once what ` key single path` leads to."""
    text = (HAYSTACK / "text" / "haystack.txt").read_text(encoding="utf-8")[: tokens * 3]
    at = text.index(" ", len(text) // 3)
    return text[:at] + " key single path message state." + text[at:]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default=str(HAYSTACK), help="folder or name of a causal language model")
    arguments.add_argument("--text-file", help="what to read; without it a haystack with a needle in it")
    arguments.add_argument("--question", default=" key single path", help="what to continue after the text")
    arguments.add_argument("--tokens", type=int, default=2000, help="about how long the haystack is")
    arguments.add_argument("--prefill", default="tokenselect", choices=tt.PREFILL)
    arguments.add_argument("--decode", default="tokenselect", choices=tt.DECODE)
    arguments.add_argument("--density", type=float, help="share of the tiles a sparse prefill attends")
    arguments.add_argument("--top-k", type=int, default=192)
    arguments.add_argument("--window", type=int, default=128, help="recent tokens that are always attended")
    arguments.add_argument("--kv-dtype", default="f32", choices=["f32", "f16", "bf16", "i8"])
    arguments.add_argument("--new-tokens", type=int, default=2)
    options = arguments.parse_args()

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="tamis").eval()
    if options.model == str(HAYSTACK):
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(HAYSTACK / "tokenizer.json"))
    else:
        tokenizer = AutoTokenizer.from_pretrained(options.model)
    text = Path(options.text_file).read_text(encoding="utf-8") if options.text_file else haystack_text(options.tokens)
    read = tokenizer(text, return_tensors="pt").input_ids
    question = tokenizer(options.question, add_special_tokens=False, return_tensors="pt").input_ids
    ids = torch.cat((read, question), 1)
    print(f"{ids.shape[1]} tokens; the model was trained on {model.config.max_position_embeddings}")

    chosen = tt.TamisConfig(
        prefill=options.prefill, decode=options.decode, density=options.density, dense_below=512, top_k=options.top_k, n_sink=8,
        n_recent=options.window, chunk=options.window // 2, similarity=None)
    for name, config in (("dense", tt.TamisConfig()), (f"{options.prefill}, {options.decode}", chosen)):
        tt.configure(model, config)
        cache = tt.TamisCache(model, dtype=options.kv_dtype)
        began = time.perf_counter()
        with torch.inference_mode():
            # The text first: a short call on a filled cache counts as decode, so the question selects for itself.
            model(read, cache=cache, logits_to_keep=1)
            answer = model.generate(ids, cache=cache, max_new_tokens=options.new_tokens, do_sample=False, pad_token_id=0)
        took = time.perf_counter() - began
        print(f"\n{name}: {tokenizer.decode(answer[0, ids.shape[1] :])!r} in {took:.2f} s")
        print(tt.statistics(model))


if __name__ == "__main__":
    main()
