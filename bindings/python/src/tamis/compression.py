"""Shorter prompts: words kept or dropped by an encoder's keep-probabilities (LLMLingua-2, arXiv 2403.12968)."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from . import _ffi
from ._arguments import choice, int32, integer, real
from ._lib import Handle, library, read_string
from ._progress import Progress, ProgressCallback
from ._texts import text_bytes, text_string
from .context import Context, default_context
from .encoder import Encoder
from .errors import InvalidArgumentError, UnsupportedError
from .tokenizer import Tokenizer

Text = Union[str, bytes]

_MODES = {"native": _ffi.TAMIS_COMPRESS_NATIVE, "compat": _ffi.TAMIS_COMPRESS_COMPAT}
_SCOPES = {"chunk": _ffi.TAMIS_SCOPE_CHUNK, "context": _ffi.TAMIS_SCOPE_CONTEXT, "prompt": _ffi.TAMIS_SCOPE_PROMPT}
_WORDS = {"mean": _ffi.TAMIS_WORD_MEAN, "first": _ffi.TAMIS_WORD_FIRST}
_BREAKS = {"follow": _ffi.TAMIS_LINE_BREAKS_FOLLOW, "keep": _ffi.TAMIS_LINE_BREAKS_KEEP}
_PROTECT = {
    "code": _ffi.TAMIS_PROTECT_CODE, "urls": _ffi.TAMIS_PROTECT_URLS, "links": _ffi.TAMIS_PROTECT_LINKS,
    "tables": _ffi.TAMIS_PROTECT_TABLES, "json": _ffi.TAMIS_PROTECT_JSON, "speakers": _ffi.TAMIS_PROTECT_SPEAKERS,
}

_WORD = np.dtype(
    [("start", np.int64), ("end", np.int64), ("probability", np.float32), ("tokens", np.int32), ("flags", np.uint32),
     ("pieces", np.uint32)])


@dataclass(frozen=True)
class CompressedContext:
    """One text, compressed. Offsets are bytes of the text's UTF-8."""

    text: str
    #: False: dropped whole by the context-level filter.
    kept: bool
    origin_tokens: int
    compressed_tokens: int
    #: Mean probability of the words; NaN when the encoder did not run.
    score: float
    #: [n, 2]: the runs of the original that were kept. Empty in compat mode.
    spans: NDArray[np.int64]
    #: Structured array: start, end (bytes of the text; in compat mode of ``word_text``), probability, tokens, flags, pieces.
    words: NDArray[Any]
    #: Compat mode: the words as the encoder's tokenizer spells them, one after another.
    word_text: bytes

    @property
    def word_kept(self) -> NDArray[np.bool_]:
        return (self.words["flags"] & _ffi.TAMIS_WORD_KEPT) != 0

    @property
    def word_forced(self) -> NDArray[np.bool_]:
        return (self.words["flags"] & _ffi.TAMIS_WORD_FORCED) != 0


@dataclass(frozen=True)
class Compression:
    """What :meth:`PromptCompressor.compress` gives."""

    #: The kept texts with an empty line between them.
    text: str
    contexts: tuple[CompressedContext, ...]
    origin_tokens: int
    compressed_tokens: int
    encoder_tokens: int
    chunks: int
    #: Inside the encoder, and of the whole call.
    encoder_seconds: float
    seconds: float

    @property
    def rate(self) -> float:
        """Share of the tokens that is left; 1 for an empty prompt."""
        return self.compressed_tokens / self.origin_tokens if self.origin_tokens else 1.0


def default_model_path() -> str:
    """The folder of the compressor that comes with the library. Raises FileMissingError."""
    return read_string(library().tamis_compressor_default_path)


class PromptCompressor:
    """Compresses prompts. Takes the place of ``llmlingua.PromptCompressor(.., use_llmlingua2=True)``: same arguments, same results.

    Two modes. The default keeps spans of the original text: white space, line breaks and unknown characters stay, words are never
    cut, nothing is lost between chunks, and the rate is hit. ``compat=True`` repeats the decisions of llmlingua 0.2.2, its quirks
    included.

    Parameters
    ----------
    model_name
        Folder of a BERT, XLM-RoBERTa or ELECTRA token classifier with two labels (label 1: keep) and its tokenizer. None: the
        English compressor that comes with the library. Nothing is downloaded.
    device_map
        "opencl" runs the encoder on the OpenCL device; every other value on the CPU.
    model_config, open_api_config
        Accepted for compatibility, not used.
    use_llmlingua2
        Must be True: compression by a causal model's perplexity is not implemented.
    llmlingua2_config
        ``max_batch_size`` (50: chunks per call of the encoder) and ``max_force_token`` (100).
    compat
        The mode of calls that name none.
    use_slingua
        SecurityLingua (arXiv 2506.12707): keep what is above a probability of 0.5, whatever the rate.
    precision
        "f32", "bf16" or "i8": arithmetic of the linear layers; "stored": as the file has them. None: "i8" on the CPU (about one
        word in a hundred is decided otherwise than in f32), "stored" with compat=True or on OpenCL.
    counting
        What tokens are counted with: a :class:`Tokenizer`, or the path of one or of a .tiktoken file. None: the encoder's tokens.
        (llmlingua counts with tiktoken's cl100k_base.)
    chunk_tokens
        Tokens of a chunk, special ones included; 0: as many as the encoder takes, at most 512.
    ctx
        None: :func:`default_context`, all cores.

    Raises FileMissingError, FileError, FormatError, UnsupportedError, InvalidArgumentError.
    """

    def __init__(
        self, model_name: str | os.PathLike[str] | None = None, device_map: str = "cpu", model_config: dict[str, Any] | None = None,
        open_api_config: dict[str, Any] | None = None, use_llmlingua2: bool = True, llmlingua2_config: dict[str, Any] | None = None,
        *, compat: bool = False, use_slingua: bool = False, precision: str | None = None,
        counting: Tokenizer | str | os.PathLike[str] | None = None, chunk_tokens: int = 0, ctx: Context | None = None,
    ) -> None:
        if not use_llmlingua2:
            raise UnsupportedError(
                "use_llmlingua2 is False: compression by a causal model's perplexity is not implemented, expected True")
        config = dict(llmlingua2_config or {})
        batch = config.pop("max_batch_size", 50)
        forced = config.pop("max_force_token", 100)
        if config:
            raise InvalidArgumentError(f"llmlingua2_config has {sorted(config)}, expected max_batch_size and max_force_token")
        if ctx is None:
            ctx = Context("opencl") if str(device_map) == "opencl" else default_context()
        lib = library()
        options = _ffi.tamis_compressor_options()
        lib.tamis_compressor_options_init(ctypes.byref(options))
        options.chunk_tokens = int32(chunk_tokens, "chunk_tokens")
        options.batch_chunks = int32(batch, "max_batch_size")
        options.max_force_token = int32(forced, "max_force_token")
        self.model_name = default_model_path() if model_name is None else os.fspath(model_name)
        self.compat = bool(compat)
        self.use_slingua = bool(use_slingua)
        self.context = ctx
        if precision is None and not compat and ctx.device == "cpu":
            precision = "i8"
        encoder = Encoder(
            self.model_name, precision=None if precision == "stored" else precision, added_rows=forced if compat else 0,
            progress=False, ctx=ctx)
        self.encoder = encoder
        self.tokenizer = Tokenizer(self.model_name)
        self.counting = counting if counting is None or isinstance(counting, Tokenizer) else Tokenizer(counting)
        pointer = ctypes.POINTER(_ffi.tamis_compressor)()
        lib.tamis_compressor_create(
            ctx._handle.pointer, encoder._handle.pointer, self.tokenizer._handle.pointer,
            self.counting._handle.pointer if self.counting is not None else None, ctypes.byref(options), ctypes.byref(pointer))
        self._handle = Handle(pointer, "tamis_compressor_destroy", "PromptCompressor", keep=ctx._handle.keep)

    def close(self) -> None:
        """Frees the model."""
        self._handle.close()

    def __enter__(self) -> PromptCompressor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"tamis.PromptCompressor({self.model_name!r}, compat={self.compat})"

    def count(self, text: Text) -> int:
        """Tokens of a text as this compressor counts them."""
        data = text_bytes(text, "text")
        found = ctypes.c_int64()
        library().tamis_compressor_count(self._handle.pointer, data, len(data), ctypes.byref(found))
        return found.value

    # ------------------------------------------------------------------------------------------------ one call

    def compress(
        self, texts: Text | Sequence[Text], *, rate: float = 0.5, target_token: int = -1, threshold: float | None = None,
        scope: str = "context", token_to_word: str = "mean", force_tokens: Iterable[str] = (), force_reserve_digit: bool = False,
        drop_consecutive: bool = False, chunk_end_tokens: Iterable[str] | None = None, use_token_level_filter: bool = True,
        use_context_level_filter: bool = False, target_context: int = -1, context_level_rate: float = 1.0,
        context_level_target_token: int = -1, force_context_ids: Iterable[int] | None = None, protect: Iterable[str] = (),
        line_breaks: str = "follow", compat: bool | None = None, progress: Progress = None,
    ) -> Compression:
        """Compresses one text or the texts ("contexts") of a prompt.

        Parameters
        ----------
        rate
            Share of the counted tokens to keep, 0 to 1.
        target_token
            Tokens to keep over all texts, in place of the rate; -1: none.
        threshold
            Keep the words above this probability, in place of the rate.
        scope
            What shares a budget: "chunk", "context" (a text) or "prompt" (all texts: the better ones keep more).
        token_to_word
            "mean" or "first": a word's probability from those of its tokens.
        force_tokens
            Kept wherever they stand for themselves. A line break among them asks for ``line_breaks="keep"``.
        force_reserve_digit
            Keep the words with a digit.
        drop_consecutive
            Drop a forced token that would follow the same one.
        chunk_end_tokens
            Where chunks had better end; None: at ends of sentences and lines.
        use_token_level_filter
            False: texts are dropped whole, words are not.
        use_context_level_filter, target_context, context_level_rate, context_level_target_token, force_context_ids
            Drop the texts with the lowest mean probability first: keep so many, such a share, or so many tokens; the listed
            ones stay.
        protect
            Any of "code", "urls", "links", "tables", "json": what stays well-formed. "speakers": in a transcript (three quarters of
            the lines are ``Name: words``) a label is kept exactly where words of its turn are and the last turn that kept any was
            someone else's.
        line_breaks
            "follow": a cut leaves the white space before the next word. "keep": it leaves its strongest line break.
        compat
            The mode; None: the compressor's.

        Raises InvalidArgumentError, CancelledError.
        """
        wanted = [texts] if isinstance(texts, (str, bytes)) else list(texts)
        data = [text_bytes(text, f"texts[{i}]") for i, text in enumerate(wanted)]
        is_compat = self.compat if compat is None else bool(compat)
        if not data:
            return Compression("", (), 0, 0, 0, 0, 0.0, 0.0)
        lib = library()
        o = _ffi.tamis_compress_options()
        lib.tamis_compress_options_init(ctypes.byref(o))
        o.mode = _MODES["compat" if is_compat else "native"]
        o.rate = real(rate, "rate")
        o.target_token = _wish(target_token, "target_token")
        if threshold is None and self.use_slingua:
            threshold = 0.5
        o.threshold = -1.0 if threshold is None else real(threshold, "threshold")
        if threshold is not None and o.threshold == -1.0:
            raise InvalidArgumentError("threshold is -1, expected 0 to 1, or None")
        o.scope = choice(scope, _SCOPES, "scope")
        o.token_to_word = choice(token_to_word, _WORDS, "token_to_word")
        o.force_reserve_digit = bool(force_reserve_digit)
        o.drop_consecutive = bool(drop_consecutive)
        o.use_token_level_filter = bool(use_token_level_filter)
        o.use_context_level_filter = bool(use_context_level_filter)
        o.target_context = int32(_wish(target_context, "target_context"), "target_context")
        for name in [protect] if isinstance(protect, str) else protect:
            o.protect |= choice(name, _PROTECT, "protect")
        o.context_level_rate = real(context_level_rate, "context_level_rate")
        o.context_level_target_token = _wish(context_level_target_token, "context_level_target_token")
        forced, o.n_force_tokens = _strings(force_tokens, "force_tokens")
        o.force_tokens = forced
        ends = None
        if chunk_end_tokens is not None:
            ends, o.n_chunk_end_tokens = _strings(chunk_end_tokens, "chunk_end_tokens")
            o.chunk_end_tokens = ends
        # an id that no text has forces nothing, in llmlingua too
        forced_ids = () if force_context_ids is None else force_context_ids
        ids = [i for i in (integer(value, "force_context_ids") for value in forced_ids) if 0 <= i < len(data)]
        kept_ids = (ctypes.c_int32 * max(1, len(ids)))(*ids)
        o.force_context_ids, o.n_force_context_ids = kept_ids, len(ids)
        o.line_breaks = choice(line_breaks, _BREAKS, "line_breaks")

        pointers = (ctypes.c_char_p * len(data))(*data)
        lengths = (ctypes.c_size_t * len(data))(*map(len, data))
        out = ctypes.POINTER(_ffi.tamis_compression)()
        with ProgressCallback(progress, "compress", bar=sum(map(len, data)) > 200_000) as callback:
            o.progress = callback
            lib.tamis_compress(self._handle.pointer, pointers, lengths, len(data), ctypes.byref(o), ctypes.byref(out))
        handle = Handle(out, "tamis_compression_destroy", "Compression")
        try:
            return _read(handle.pointer, len(data))
        finally:
            handle.close()

    # ------------------------------------------------------------------------------------------------ llmlingua

    def compress_prompt(
        self, context: str | Sequence[str], instruction: str = "", question: str = "", rate: float = 0.5,
        target_token: float = -1, iterative_size: int = 200, force_context_ids: Iterable[int] | None = None,
        force_context_number: int | None = None, use_sentence_level_filter: bool = False,
        use_context_level_filter: bool | None = None, use_token_level_filter: bool = True, keep_split: bool = False,
        keep_first_sentence: int = 0, keep_last_sentence: int = 0, keep_sentence_number: int = 0, high_priority_bonus: int = 100,
        context_budget: str = "+100", token_budget_ratio: float = 1.4, condition_in_question: str = "none",
        reorder_context: str = "original", dynamic_context_compression_ratio: float = 0.0, condition_compare: bool = False,
        add_instruction: bool = False, rank_method: str = "llmlingua", concate_question: bool = True,
        context_segs: Any = None, context_segs_rate: Any = None, context_segs_compress: Any = None, target_context: int = -1,
        context_level_rate: float = 1.0, context_level_target_token: int = -1, return_word_label: bool = False,
        word_sep: str = "\t\t|\t\t", label_sep: str = " ", token_to_word: str = "mean", force_tokens: Iterable[str] = (),
        force_reserve_digit: bool = False, drop_consecutive: bool = False, chunk_end_tokens: Iterable[str] | None = None,
        strict_preserve_uncompressed: bool = True, **native: Any,
    ) -> dict[str, Any]:
        """``llmlingua.PromptCompressor.compress_prompt`` with ``use_llmlingua2=True``: same arguments and result.

        Arguments that llmlingua ignores in this mode are accepted and ignored (iterative_size, the sentence and ranking options,
        context_segs..). What :meth:`compress` takes beyond (scope, threshold, protect, line_breaks, progress) is passed on.

        Where the native mode differs from ``compat=True`` and llmlingua:
          use_context_level_filter   None is False; there it is True. The rate is that of the whole either way, not applied twice
          instruction, question      stand before and after the compressed contexts and are counted; there they are dropped
                                     (concate_question=False leaves the question out)
          chunk_end_tokens           None: ends of sentences and lines; there [".", "\\n"]

        Returns a dict: compressed_prompt, compressed_prompt_list, origin_tokens, compressed_tokens, ratio ("2.0x"), rate ("50.0%"),
        saving; with return_word_label also fn_labeled_original_prompt.
        """
        compat = bool(native.pop("compat", self.compat))
        filters = compat if use_context_level_filter is None else use_context_level_filter
        return self._llmlingua(
            context, "" if compat else instruction, "" if compat or not concate_question else question, return_word_label, word_sep,
            label_sep, rate=rate, target_token=target_token, use_context_level_filter=filters,
            use_token_level_filter=use_token_level_filter, target_context=target_context, context_level_rate=context_level_rate,
            context_level_target_token=context_level_target_token, force_context_ids=force_context_ids, token_to_word=token_to_word,
            force_tokens=force_tokens, force_reserve_digit=force_reserve_digit, drop_consecutive=drop_consecutive,
            chunk_end_tokens=chunk_end_tokens, compat=compat, **native)

    def compress_prompt_llmlingua2(
        self, context: str | Sequence[str], rate: float = 0.5, target_token: float = -1, use_context_level_filter: bool = False,
        use_token_level_filter: bool = True, target_context: int = -1, context_level_rate: float = 1.0,
        context_level_target_token: int = -1, force_context_ids: Iterable[int] | None = None, return_word_label: bool = False,
        word_sep: str = "\t\t|\t\t", label_sep: str = " ", token_to_word: str = "mean", force_tokens: Iterable[str] = (),
        force_reserve_digit: bool = False, drop_consecutive: bool = False, chunk_end_tokens: Iterable[str] | None = None,
        **native: Any,
    ) -> dict[str, Any]:
        """``llmlingua.PromptCompressor.compress_prompt_llmlingua2``; see :meth:`compress_prompt`."""
        return self._llmlingua(
            context, "", "", return_word_label, word_sep, label_sep, rate=rate, target_token=target_token,
            use_context_level_filter=use_context_level_filter, use_token_level_filter=use_token_level_filter,
            target_context=target_context, context_level_rate=context_level_rate,
            context_level_target_token=context_level_target_token, force_context_ids=force_context_ids, token_to_word=token_to_word,
            force_tokens=force_tokens, force_reserve_digit=force_reserve_digit, drop_consecutive=drop_consecutive,
            chunk_end_tokens=chunk_end_tokens, **native)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self.compress_prompt(*args, **kwargs)

    def _llmlingua(
        self, context: str | Sequence[str], instruction: str, question: str, return_word_label: bool, word_sep: str, label_sep: str,
        **options: Any,
    ) -> dict[str, Any]:
        texts = [context] if isinstance(context, str) else list(context)
        done = self.compress(texts, **options)
        kept = [c.text for c in done.contexts if c.kept]
        around = [part for part in (instruction, question) if part]
        extra = sum(map(self.count, around))
        origin, compressed = done.origin_tokens + extra, done.compressed_tokens + extra
        ratio = 1 if compressed == 0 else origin / compressed
        result: dict[str, Any] = {
            "compressed_prompt": "\n\n".join([*filter(None, [instruction]), *kept, *filter(None, [question])]),
            "compressed_prompt_list": kept,
            "origin_tokens": origin,
            "compressed_tokens": compressed,
            "ratio": f"{ratio:.1f}x",
            "rate": f"{1 / ratio * 100:.1f}%",
            "saving": f", Saving ${(origin - compressed) * 0.06 / 1000:.1f} in GPT-4.",
        }
        if return_word_label:
            lines = []
            for text, c in zip(texts, done.contexts):
                source = c.word_text if len(c.word_text) else text_bytes(text, "context")
                for word, label in zip(c.words, c.word_kept):
                    lines.append(f"{text_string(source[word['start']:word['end']])}{label_sep}{int(label)}")
            result["fn_labeled_original_prompt"] = word_sep.join(lines)
        return result


def _read(pointer: Any, n: int) -> Compression:
    lib = library()
    report = _ffi.tamis_compression_report(struct_size=ctypes.sizeof(_ffi.tamis_compression_report))
    lib.tamis_compression_get_report(pointer, ctypes.byref(report))
    contexts = []
    for i in range(n):
        c = _ffi.tamis_context_report(struct_size=ctypes.sizeof(_ffi.tamis_context_report))
        lib.tamis_compression_get_context(pointer, i, ctypes.byref(c))
        contexts.append(
            CompressedContext(
                text_string(_string(lib.tamis_compression_text, pointer, i)), bool(c.kept), c.origin_tokens, c.compressed_tokens, c.score,
                _array(lib.tamis_compression_spans, pointer, i, _ffi.tamis_span, np.dtype((np.int64, 2))),
                _array(lib.tamis_compression_words, pointer, i, _ffi.tamis_word, _WORD),
                _string(lib.tamis_compression_word_text, pointer, i)))
    return Compression(
        text_string(_string(lib.tamis_compression_text, pointer, -1)), tuple(contexts), report.origin_tokens, report.compressed_tokens,
        report.encoder_tokens, report.chunks, report.encoder_seconds, report.seconds)


def _string(function: Any, pointer: Any, i: int) -> bytes:
    address = ctypes.c_void_p()
    length = ctypes.c_size_t()
    function(pointer, i, ctypes.cast(ctypes.byref(address), ctypes.POINTER(ctypes.c_char_p)), ctypes.byref(length))
    return ctypes.string_at(address.value, length.value) if length.value else b""


def _array(function: Any, pointer: Any, i: int, kind: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    first = ctypes.POINTER(kind)()
    count = ctypes.c_int64()
    function(pointer, i, ctypes.byref(first), ctypes.byref(count))
    raw = ctypes.string_at(first, count.value * ctypes.sizeof(kind)) if count.value else b""
    if dtype.subdtype is not None:
        return np.frombuffer(raw, dtype.subdtype[0]).reshape(-1, *dtype.subdtype[1])
    return np.frombuffer(raw, dtype)


def _wish(value: Any, argument: str) -> int:
    """A count, or -1 for anything negative."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgumentError(f"{argument} is {value}, expected a finite number")
        value = math.floor(value)
    found = integer(value, argument)
    return found if found >= 0 else -1


def _strings(values: Iterable[str], argument: str) -> tuple[Any, int]:
    if isinstance(values, str):
        raise InvalidArgumentError(f"{argument} is the string {values!r}, expected a list of strings")
    data = [text_bytes(value, f"{argument}[{i}]") for i, value in enumerate(values)]
    for i, value in enumerate(data):
        if b"\0" in value:
            raise InvalidArgumentError(f"{argument}[{i}] has a NUL character, expected none")
    return (ctypes.c_char_p * max(1, len(data)))(*data), len(data)
