"""The shipped haystack model (Models/haystack): Llama's forward pass in numpy, float32; attention is libtamis'."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..attention import attention
from ..context import Context
from ..errors import FileMissingError, FormatError
from ..tokenizer import Tokenizer
from ..weights import open_safetensors
from .methods import EvalMethod
from .needles import Question, TokenNeedles

#: Attention of a layer: (layer, q [heads, n, d], k, v [kv_heads, n, d], rotated) -> [heads, n, d].
Attend = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def find_haystack() -> Path:
    """The folder of the model: $TAMIS_MODELS/haystack, the source tree's, an installation's. Raises FileMissingError."""
    folders = []
    if "TAMIS_MODELS" in os.environ:
        folders.append(Path(os.environ["TAMIS_MODELS"]) / "haystack")
    for tree in Path(__file__).resolve().parents:
        if (tree / "Package.swift").is_file() and (tree / "include" / "tamis.h").is_file():
            folders.append(tree / "Models" / "haystack")
            break
    folders += [Path(root) / "share" / "tamis" / "Models" / "haystack" for root in (sys.prefix, "/usr/local", "/usr")]
    for folder in folders:
        if (folder / "config.json").is_file():
            return folder
    raise FileMissingError(
        "the haystack model was not found; --model haystack:FOLDER or TAMIS_MODELS names its place. Looked for "
        + ", ".join(str(folder / "config.json") for folder in folders))


class HaystackModel:
    """A Llama of Models/haystack's layout, with its tokenizer and the text that hides needles.

    folder: None: :func:`find_haystack`. Raises FileMissingError, FormatError.
    """

    name = "haystack"

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, ctx: Context | None = None) -> None:
        self.folder = find_haystack() if folder is None else Path(folder)
        self.ctx = ctx
        path = self.folder / "config.json"
        if not path.is_file():
            raise FileMissingError(f"{path}: no such file")
        config = json.loads(path.read_text())
        self.max_tokens: int | None = config.get("max_position_embeddings")
        try:
            self.layers, self.heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
            self.kv_heads, self.head_dim = int(config["num_key_value_heads"]), int(config["head_dim"])
            self.eps, self.base = float(config["rms_norm_eps"]), float(config["rope_theta"])
        except KeyError as missing:
            raise FormatError(f"{path} has no {missing}, expected the configuration of Models/haystack") from None
        self.weights = {
            name: np.ascontiguousarray(np.asarray(tensor, np.float32).T) if tensor.ndim == 2 else np.asarray(tensor, np.float32)
            for name, tensor in open_safetensors(self.folder / "model.safetensors").items()
        }
        self.tokenizer = tokenizer = Tokenizer(self.folder / "tokenizer.json")
        text = self.folder / "text" / "haystack.txt"
        (key,), (stop,) = tokenizer.encode(" key").ids, tokenizer.encode(".").ids
        # A byte-level vocabulary writes a space as U+0120. Whole words of three letters or more.
        words = [
            i for i in range(300, tokenizer.vocab_size)
            if i != key and re.fullmatch("\u0120[A-Za-z]{3,}", tokenizer.id_to_token(i) or "")
        ]
        #: The text that hides needles.
        self.text = text.read_text(encoding="utf-8")
        self.needles = TokenNeedles(tokenizer.encode(self.text).ids, words, int(key), int(stop))

    def describe(self) -> dict[str, Any]:
        """What the report says about the model."""
        return {
            "model": self.name, "layers": self.layers, "heads": self.heads, "kv_heads": self.kv_heads, "head_dim": self.head_dim}

    def predictor_path(self) -> str | None:
        """The shipped boundary predictor of "dhsa", if there is one."""
        path = self.folder / "boundary_predictor.safetensors"
        return str(path) if path.is_file() else None

    # ------------------------------------------------------------------------------------------------ forward pass

    def forward(self, ids: np.ndarray, attend: Attend, past: list[tuple[np.ndarray, np.ndarray]] | None = None) -> np.ndarray:
        """Logits after the last of ids [n]; keys (rotated) and values of the layers, [kv_heads, n, d], are appended to `past`."""
        start = past[0][0].shape[1] if past else 0
        cos, sin = self._turns(np.arange(start, start + len(ids)))
        h = self._embedding()[ids]
        for layer in range(self.layers):
            name = f"model.layers.{layer}."
            x = self._norm(h, name + "input_layernorm")
            q, k, v = (
                (x @ self.weights[f"{name}self_attn.{p}_proj.weight"]).reshape(len(ids), -1, self.head_dim).transpose(1, 0, 2)
                for p in "qkv")
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
            v = np.ascontiguousarray(v)
            if past is not None:
                if start:
                    k, v = (np.concatenate([old, new], 1) for old, new in zip(past[layer], (k, v)))
                    past[layer] = k, v
                else:
                    past.append((k, v))
            o = attend(layer, q, k, v)
            if layer == self.layers - 1:
                # Only the last token's logits are read.
                o, h = o[:, -1:], h[-1:]
            h = h + o.transpose(1, 0, 2).reshape(o.shape[1], -1) @ self.weights[name + "self_attn.o_proj.weight"]
            x = self._norm(h, name + "post_attention_layernorm")
            gate = x @ self.weights[name + "mlp.gate_proj.weight"]
            h = h + (gate / (1 + np.exp(-gate)) * (x @ self.weights[name + "mlp.up_proj.weight"])) @ self.weights[
                name + "mlp.down_proj.weight"]
        return self._norm(h[-1], "model.norm") @ self.weights["model.embed_tokens.weight"]

    def _embedding(self) -> np.ndarray:
        # Stored transposed, as the output layer that it also is.
        return self.weights["model.embed_tokens.weight"].T

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.eps)) * self.weights[name + ".weight"]

    def _turns(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        half = self.head_dim // 2
        angles = positions[:, None] * self.base ** (-np.arange(half) / half)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    # ---------------------------------------------------------------------------------------------------- the tests

    def questions(self, length: int, depths: int, seed: int) -> Iterator[list[Question]]:
        """Haystacks without end: for each, a question at each depth."""
        rng = np.random.default_rng([seed, length])
        while True:
            yield self.needles.haystack(length, depths, rng)

    def answers(self, questions: list[Question], method: EvalMethod, asked: str = "prompt") -> list[bool]:
        """Whether the model continues each prompt with the answer; the questions are about one text.

        asked "prompt": text and question are one prefill by the method. "decode": the text is, and the question is fed token by
        token. What is decoded, an answer's second token too, attends densely the keys and values that the prefill left.
        """
        won = []
        text: list[tuple[np.ndarray, np.ndarray]] = []
        for question in questions:
            body = question.prompt[: -question.asking]
            if asked == "decode":
                if not text:
                    self._prefill(body, method, text)
                past = list(text)
                for token in question.prompt[body.size :]:
                    logits = self._decode(int(token), past)
            else:
                past = []
                logits = self._prefill(question.prompt, method, past)
            won.append(self._continues(question.answer, logits, past))
        return won

    def count_tokens(self, text: str) -> int:
        return self.tokenizer.count(text)

    def token_limit(self) -> int | None:
        """Tokens that the model was trained on; None: the configuration does not say."""
        return self.max_tokens

    def reply(self, prompt: str, method: EvalMethod, max_tokens: int, stop: str = "") -> str:
        """Greedy continuation of a text, prefilled by the method and decoded densely, of at most `max_tokens` tokens; it ends
        after the token that holds `stop`. The model has no token of its own for an end."""
        past: list[tuple[np.ndarray, np.ndarray]] = []
        logits = self._prefill(np.asarray(self.tokenizer.encode(prompt).ids, np.int64), method, past)
        said: list[int] = []
        while len(said) < max_tokens:
            if said:
                logits = self._decode(said[-1], past)
            said.append(int(logits.argmax()))
            if stop and stop in self.tokenizer.decode(said).lstrip():
                break
        return self.tokenizer.decode(said)

    def _prefill(self, ids: np.ndarray, method: EvalMethod, past: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        prompt = method.prompt(self.ctx)
        return self.forward(ids, lambda _, q, k, v: prompt(q, k, v), past)

    def _decode(self, token: int, past: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        return self.forward(np.array([token]), lambda _, q, k, v: attention(q, k, v, ctx=self.ctx), past)

    def _continues(self, answer: tuple[int, ...], logits: np.ndarray, past: list[tuple[np.ndarray, np.ndarray]]) -> bool:
        for i, expected in enumerate(answer):
            if int(logits.argmax()) != expected:
                return False
            if i + 1 < len(answer):
                logits = self._decode(expected, past)
        return True

    def visit(
        self, ids: np.ndarray, look: Callable[[int, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]], None],
        window: int | None = None,
    ) -> None:
        """A dense pass over ids that shows every layer's rotated q [heads, n, d], k, v [kv_heads, n, d] and attention rule
        (here none) to `look`. window: each token attends that many; positions stay within what the model was trained on."""
        def attend(layer: int, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
            look(layer, q, k, v, {})
            return attention(q, k, v, window=window, ctx=self.ctx)

        self.forward(np.asarray(ids), attend)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """RoPE over pairs (i, i + d/2) of [heads, n, d]."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
