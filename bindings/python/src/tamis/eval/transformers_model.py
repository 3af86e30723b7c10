"""Any transformers model, its attention through :mod:`tamis.integrations.transformers`. Needs torch and transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.masking_utils import AttentionMaskInterface

from ..context import Context
from ..errors import FileMissingError, InvalidArgumentError
from ..integrations import transformers as integration
from ..integrations.transformers.attention import attend
from ..integrations.transformers.masks import make_mask
from .haystack_model import find_haystack
from .methods import EvalMethod
from .needles import Question, SentenceNeedles

#: Who looks at the tensors of the pass that runs; set by TransformersModel.visit.
_look: Callable[..., None] | None = None


def _recording(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention that shows its tensors first, as float32 arrays."""
    if _look is not None and query.shape[2] > 1:
        window = getattr(module, "sliding_window", None) or kwargs.get("sliding_window")
        rule = {
            name: number for name, number in (
                ("scale", kwargs.get("scaling")), ("softcap", kwargs.get("softcap")),
                ("window", window if window and window < key.shape[2] else None))
            if number is not None
        }
        _look(getattr(module, "layer_idx", 0), *(x[0].float().numpy() for x in (query, key, value)), rule)
    return attend(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register("tamis_eval", _recording)
AttentionMaskInterface.register("tamis_eval", make_mask)


class TransformersModel:
    """A causal language model that ``AutoModelForCausalLM`` loads, on the CPU, with its tokenizer.

    path
        A folder, or a name that transformers finds.
    text
        A file with the text that hides the needles; None: that of the haystack model.
    chat
        Put the prompt into the tokenizer's chat template, as the user's message; the answer then follows the template's own
        start of an answer and the words "The secret number of X is".
    dtype
        "auto" (the checkpoint's), "float32", "bfloat16" or "float16".

    Raises InvalidArgumentError, FileMissingError; what transformers raises where it cannot load the model.
    """

    def __init__(
        self, path: str, *, text: Path | None = None, chat: bool = False, dtype: str = "auto", ctx: Context | None = None
    ) -> None:
        if dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise InvalidArgumentError(f"--dtype is {dtype!r}, expected auto, float32, bfloat16 or float16")
        file = find_haystack() / "text" / "haystack.txt" if text is None else text
        if not file.is_file():
            raise FileMissingError(f"{file}: no such file")
        self.name = Path(path).name or path
        self.ctx = ctx
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype if dtype == "auto" else getattr(torch, dtype), attn_implementation="tamis").eval()
        prefix, suffix = self._template() if chat else (self._start(), [])
        self.prefix, self.suffix = prefix, suffix
        #: The text that hides needles.
        self.text = file.read_text(encoding="utf-8")
        self.needles = SentenceNeedles(self._encode, self.text, prefix, suffix)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _start(self) -> list[int]:
        """What the tokenizer puts before any text."""
        ids: list[int] = self.tokenizer("")["input_ids"]
        return [] if not ids or ids[-1] == self.tokenizer.eos_token_id != self.tokenizer.bos_token_id else ids

    def _template(self) -> tuple[list[int], list[int]]:
        """The chat template around a user's message."""
        if not self.tokenizer.chat_template:
            raise InvalidArgumentError(f"--chat: the tokenizer of {self.name} has no chat template")
        mark = "<<<text>>>"
        whole = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True)
        before, _, after = whole.partition(mark)
        return self._encode(before), self._encode(after)

    def describe(self) -> dict[str, Any]:
        """What the report says about the model."""
        config = self.model.config.get_text_config(decoder=True)
        return {
            "model": self.name, "layers": config.num_hidden_layers, "heads": config.num_attention_heads,
            "kv_heads": getattr(config, "num_key_value_heads", config.num_attention_heads),
            "dtype": str(self.model.dtype).removeprefix("torch."), "torch": torch.__version__,
        }

    def predictor_path(self) -> str | None:
        return None

    def questions(self, length: int, depths: int, seed: int) -> Iterator[list[Question]]:
        """Texts without end: for each round, a question at each depth, each with a text of its own."""
        rng = np.random.default_rng([seed, length])
        while True:
            yield [self.needles.question(length, depth, depths, rng) for depth in range(depths)]

    def count_tokens(self, text: str) -> int:
        return len(self._encode(text))

    def token_limit(self) -> int | None:
        """Tokens that the model's configuration allows; None: it does not say."""
        limit = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return None if limit is None else int(limit)

    @torch.inference_mode()
    def reply(self, prompt: str, method: EvalMethod, max_tokens: int, stop: str = "") -> str:
        """Greedy continuation of a prompt (with --chat: answer to a user's message), prefilled by the method and decoded
        densely, up to a token that ends it, the one that holds `stop`, or `max_tokens` tokens."""
        self._use(method)
        ids = torch.tensor([[*self.prefix, *self._encode(prompt), *self.suffix]])
        cache = DynamicCache(config=self.model.config)
        logits = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        ends = self.model.generation_config.eos_token_id
        last = set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
        said: list[int] = []
        while len(said) < max_tokens:
            if said:
                logits = self._step(said[-1], cache)
            said.append(int(logits[0, -1].argmax()))
            if said[-1] in last or (stop and stop in str(self.tokenizer.decode(said)).lstrip()):
                break
        return str(self.tokenizer.decode(said, skip_special_tokens=True))

    @torch.inference_mode()
    def answers(self, questions: list[Question], method: EvalMethod, asked: str = "prompt") -> list[bool]:
        """Whether greedy decoding continues each prompt with the number, as text. Decoding is dense.

        asked "prompt": the whole prompt is one prefill by the method; "decode": the text is, and the question is fed token by
        token.
        """
        self._use(method)
        return [self._answer(question, asked) for question in questions]

    def _use(self, method: EvalMethod) -> None:
        """Prefills by the method from now on."""
        options = dict(method.options)
        predictor = options.pop("predictor", None)
        config = integration.TamisConfig() if method.dense else integration.TamisConfig(
            prefill=method.name, options={"dense_below": 0, **options}, predictor=predictor,
            share_boundaries=method.share_boundaries)
        config.ctx = self.ctx
        integration.configure(self.model, config)
        self.model.set_attn_implementation("tamis")

    def _answer(self, question: Question, asked: str) -> bool:
        ids = torch.from_numpy(question.prompt)[None]
        first = ids.shape[1] - (question.asking if asked == "decode" else 0)
        cache = DynamicCache(config=self.model.config)
        logits = self.model(ids[:, :first], past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        for token in ids[0, first:].tolist():
            logits = self._step(token, cache)
        said: list[int] = []
        while len(said) < len(question.answer):
            if said:
                logits = self._step(said[-1], cache)
            said.append(int(logits[0, -1].argmax()))
        return tuple(said) == question.answer or self.tokenizer.decode(said).strip() == question.text

    def _step(self, token: int, cache: DynamicCache) -> torch.Tensor:
        logits: torch.Tensor = self.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True).logits
        return logits

    @torch.inference_mode()
    def visit(self, ids: np.ndarray, look: Callable[..., None]) -> None:
        """A dense pass that shows every layer's rotated tensors as float32 arrays, and its attention rule."""
        global _look
        integration.configure(self.model, integration.TamisConfig(ctx=self.ctx))
        self.model.set_attn_implementation("tamis_eval")
        _look = look
        try:
            self.model(input_ids=torch.from_numpy(np.asarray(ids))[None], use_cache=False, logits_to_keep=1)
        finally:
            _look = None
