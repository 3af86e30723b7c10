"""BERT, XLM-RoBERTa and ELECTRA encoders: hidden states, token classes, sentence vectors."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _ffi
from ._arguments import choice, int32
from ._arrays import Tensor, pointer
from ._lib import Handle, library, read_string
from ._progress import Progress, ProgressCallback
from .context import Context, default_context
from .errors import InvalidArgumentError

_KINDS = {_ffi.TAMIS_ENCODER_BERT: "bert", _ffi.TAMIS_ENCODER_ROBERTA: "roberta", _ffi.TAMIS_ENCODER_ELECTRA: "electra"}
_PRECISIONS = {"f32": _ffi.TAMIS_PRECISION_F32, "bf16": _ffi.TAMIS_PRECISION_BF16, "i8": _ffi.TAMIS_PRECISION_I8}
_POOLINGS = {"mean": _ffi.TAMIS_POOLING_MEAN, "cls": _ffi.TAMIS_POOLING_CLS, "max": _ffi.TAMIS_POOLING_MAX}


@dataclass(frozen=True)
class EncoderInfo:
    """What a model is."""

    #: "bert", "roberta" (XLM-RoBERTa and CamemBERT too) or "electra".
    kind: str
    #: "f32", "bf16" or "i8": arithmetic of the linear layers.
    precision: str
    layers: int
    hidden: int
    heads: int
    #: Ids are 0 .. vocabulary - 1, added rows included.
    vocabulary: int
    #: Segment ids are 0 .. types - 1.
    types: int
    #: Tokens of a sequence at most, special tokens included.
    max_tokens: int
    pad_id: int | None
    #: Names of the classes; empty without a classification head.
    labels: tuple[str, ...]
    #: "mean", "cls" or "max", as modules.json of a sentence-transformers folder says.
    pooling: str
    #: Whether that file asks for vectors of length 1.
    normalise: bool
    #: Tokens at which :meth:`Encoder.embed` cuts texts: max_seq_length of such a folder, else max_tokens.
    embed_tokens: int
    parameters: int
    #: Packed weights on the device.
    bytes: int


class Encoder:
    """An encoder read from a folder as Hugging Face writes it: config.json and model.safetensors (or its shards, or
    pytorch_model.bin, which is read without executing anything).

    Batches are lists of sequences of token ids, of any lengths; nothing is padded and nothing is added (special tokens are the
    tokenizer's). The result of a sequence does not depend on the others.

    Parameters
    ----------
    path
        The folder; that of a sentence-transformers model too.
    precision
        "f32", "bf16" or "i8" (int8 weights with a scale per output, int8 inputs with a scale per row found as they come).
        None: as stored.
    added_rows
        Rows appended to the vocabulary, each the mean of the file's rows.
    tokenizer
        For :meth:`embed` of texts; None: the folder's, read when it is first needed.
    ctx
        None: :func:`default_context`.

    Raises FileMissingError, FileError, FormatError, UnsupportedError (with the name of what is not supported),
    OutOfMemoryError.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, precision: str | None = None, added_rows: int = 0, tokenizer: Any = None,
        progress: Progress = None, ctx: Context | None = None,
    ) -> None:
        lib = library()
        options = _ffi.tamis_encoder_options()
        lib.tamis_encoder_options_init(ctypes.byref(options))
        if precision is not None:
            options.precision = choice(precision, _PRECISIONS, "precision")
        options.added_rows = int32(added_rows, "added_rows")
        context = default_context() if ctx is None else ctx
        handle = ctypes.POINTER(_ffi.tamis_encoder)()
        with ProgressCallback(progress, "read", bar=False) as callback:
            options.progress = callback
            lib.tamis_encoder_create(context._handle.pointer, os.fsencode(path), ctypes.byref(options), ctypes.byref(handle))
        self._handle = Handle(handle, "tamis_encoder_destroy", "Encoder", keep=context._handle.keep)
        self._path = os.fspath(path)
        self._tokenizer = tokenizer
        self.context = context
        self.info = self._read_info()

    def _read_info(self) -> EncoderInfo:
        lib = library()
        raw = _ffi.tamis_encoder_info(struct_size=ctypes.sizeof(_ffi.tamis_encoder_info))
        lib.tamis_encoder_get_info(self._handle.pointer, ctypes.byref(raw))
        labels = tuple(read_string(lib.tamis_encoder_label, self._handle.pointer, i) for i in range(raw.labels))
        return EncoderInfo(
            _KINDS[raw.kind], _name(_PRECISIONS, raw.precision), raw.layers, raw.hidden, raw.heads, raw.vocabulary, raw.types,
            raw.max_tokens, raw.pad_id if raw.pad_id >= 0 else None, labels, _name(_POOLINGS, raw.pooling), bool(raw.normalise),
            raw.embed_tokens, raw.parameters, raw.bytes)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer given, or the folder's."""
        if self._tokenizer is None:
            from . import Tokenizer

            self._tokenizer = Tokenizer(self._path)
        return self._tokenizer

    def states(
        self, batch: Sequence[Any], *, types: Sequence[Any] | None = None, progress: Progress = None
    ) -> list[np.ndarray]:
        """The last hidden states of every sequence: float32 [tokens, hidden] each.

        types: segment ids, shaped as the batch; None: all 0. Raises InvalidArgumentError for an id out of range and a sequence
        longer than ``info.max_tokens``; CancelledError.
        """
        ragged = _Ragged(batch, types)
        return ragged.split(self._call("tamis_encoder_states", ragged, ragged.total, self.info.hidden, (), progress))

    def classify(
        self, batch: Sequence[Any], *, types: Sequence[Any] | None = None, probabilities: bool = False,
        progress: Progress = None,
    ) -> list[np.ndarray]:
        """Logits of the token classification head: float32 [tokens, labels] for every sequence; with `probabilities` their
        softmax (of a single label the logistic function). UnsupportedError without a head."""
        ragged = _Ragged(batch, types)
        form = _ffi.TAMIS_CLASS_PROBABILITIES if probabilities else _ffi.TAMIS_CLASS_LOGITS
        return ragged.split(
            self._call("tamis_encoder_classify", ragged, ragged.total, max(len(self.info.labels), 1), (form,), progress))

    def embed(
        self, batch: Sequence[Any], *, types: Sequence[Any] | None = None, pooling: str | None = None,
        normalise: bool | None = None, progress: Progress = None,
    ) -> np.ndarray:
        """One vector per sequence: float32 [len(batch), hidden].

        batch: sequences of ids, or texts, which :attr:`tokenizer` encodes with its special tokens, cut at
        ``info.embed_tokens``. pooling: "mean", "cls" or "max". normalise: to length 1. None: as the folder says (``info``).
        """
        if len(batch) > 0 and all(isinstance(text, str) for text in batch):
            encodings = self.tokenizer.encode_batch(list(batch), max_tokens=self.info.embed_tokens)
            batch = [encoding.ids for encoding in encodings]
        ragged = _Ragged(batch, types)
        mode = _ffi.TAMIS_POOLING_STORED if pooling is None else choice(pooling, _POOLINGS, "pooling")
        lengths = -1 if normalise is None else int(bool(normalise))
        return self._call("tamis_encoder_embed", ragged, len(ragged), self.info.hidden, (mode, lengths), progress)

    def _call(
        self, function: str, ragged: _Ragged, rows: int, width: int, arguments: tuple[int, ...], progress: Progress
    ) -> np.ndarray:
        if rows == 0:
            return np.zeros((0, width), np.float32)
        out = Tensor.empty((rows, width))
        with ProgressCallback(progress, "encode", bar=ragged.total > 4096) as callback:
            getattr(library(), function)(
                self._handle.pointer, ctypes.byref(ragged.c()), *arguments, ctypes.byref(out.c()), callback, None)
        return out.numpy()

    def close(self) -> None:
        """Frees the weights."""
        self._handle.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        i = self.info
        return f"tamis.Encoder({i.kind}, {i.layers} layers, hidden {i.hidden}, {i.precision})"


def _name(names: dict[str, int], number: int) -> str:
    return next(name for name, value in names.items() if value == number)


class _Ragged:
    """Sequences of ids one after another."""

    def __init__(self, batch: Sequence[Any], types: Sequence[Any] | None) -> None:
        rows = [_ids(sequence, f"batch[{i}]") for i, sequence in enumerate(batch)]
        self.starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=self.starts[1:])
        self.ids = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        self.types = None
        if types is not None:
            segments = [_ids(row, f"types[{i}]") for i, row in enumerate(types)]
            if [len(row) for row in segments] != [len(row) for row in rows]:
                raise InvalidArgumentError("types is not shaped as the batch, expected one segment id per token")
            self.types = np.concatenate(segments) if segments else None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def total(self) -> int:
        return int(self.starts[-1])

    def c(self) -> _ffi.tamis_ragged:
        """The struct; valid while this object lives."""
        return _ffi.tamis_ragged(
            pointer(self.ids, ctypes.c_int32), pointer(self.starts, ctypes.c_int64), len(self),
            pointer(self.types, ctypes.c_int32))

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        return [rows[a:b] for a, b in zip(self.starts[:-1], self.starts[1:])]


def _ids(sequence: Any, argument: str) -> np.ndarray:
    if hasattr(sequence, "ids"):
        sequence = sequence.ids
    array = np.asarray(sequence)
    if array.size == 0:
        return np.zeros(0, np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{argument} is {array.dtype}{list(array.shape)}, expected a list of token ids")
    if array.min() < 0 or array.max() >= 2**31:
        raise InvalidArgumentError(f"{argument} holds {array.min()} to {array.max()}, expected token ids from 0 on")
    return np.ascontiguousarray(array, np.int32)
