"""Tokenizers: text to token ids and back, with the place in the text that every token came from."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from . import _ffi
from ._arguments import choice, int32, integer
from ._lib import Handle, library, read_string
from ._progress import Progress, ProgressCallback
from .context import Context, pointer_of
from .errors import InvalidArgumentError, NotFoundError

Text = Union[str, bytes, bytearray, memoryview]

_FORMATS = {
    "json": _ffi.TAMIS_TOKENIZER_JSON, "sentencepiece": _ffi.TAMIS_TOKENIZER_SENTENCEPIECE,
    "vocab.txt": _ffi.TAMIS_TOKENIZER_VOCAB_TXT, "tiktoken": _ffi.TAMIS_TOKENIZER_TIKTOKEN,
}
_MODELS = {
    _ffi.TAMIS_MODEL_BPE: "BPE", _ffi.TAMIS_MODEL_WORDPIECE: "WordPiece", _ffi.TAMIS_MODEL_UNIGRAM: "Unigram",
    _ffi.TAMIS_MODEL_WORDLEVEL: "WordLevel",
}
_OFFSETS = {"bytes": _ffi.TAMIS_OFFSETS_BYTES, "chars": _ffi.TAMIS_OFFSETS_CHARACTERS}


class Encoding:
    """The tokens of one text: int32 arrays of equal length, read-only.

    Attributes
    ----------
    ids : [n]
    offsets : [n, 2]
        Where in the text a token came from, [start, end); 0, 0 for a token of the template.
    words : [n]
        Which pre-token of the text a token is a part of; -1 for a token of the template.
    type_ids : [n]
        Segment ids of the template.
    """

    __slots__ = ("ids", "offsets", "words", "type_ids", "_tokenizer")

    def __init__(
        self, ids: NDArray[np.int32], offsets: NDArray[np.int32], words: NDArray[np.int32], type_ids: NDArray[np.int32],
        tokenizer: Tokenizer,
    ) -> None:
        self.ids, self.offsets, self.words, self.type_ids = ids, offsets, words, type_ids
        self._tokenizer = tokenizer

    @property
    def tokens(self) -> list[str]:
        """The piece of each id, as the vocabulary writes it."""
        return [self._tokenizer.id_to_token(i) or "" for i in self.ids.tolist()]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Encoding({len(self)} tokens)"


class Tokenizer:
    """A tokenizer as its model was published: tokenizer.json, SentencePiece .model, vocab.txt, vocab.json with merges.txt, or
    .tiktoken; or a folder that holds one of them. Immutable, and usable from any number of threads.

    >>> tokenizer = tamis.Tokenizer("path/to/model")
    >>> encoding = tokenizer.encode("Hello, world")
    >>> tokenizer.decode(encoding.ids)

    Raises FileMissingError, FileError, FormatError, and UnsupportedError for a component that is not implemented, by its name.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        pointer = ctypes.POINTER(_ffi.tamis_tokenizer)()
        library().tamis_tokenizer_open(os.fsencode(path), ctypes.byref(pointer))
        self._adopt(pointer)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """The same as ``Tokenizer(path)``."""
        return cls(path)

    @classmethod
    def from_bytes(cls, data: bytes, format: str = "json", *, pattern: str | None = None) -> Tokenizer:
        """A file in memory. `format`: "json", "sentencepiece", "vocab.txt" or "tiktoken", which needs a `pattern`:
        "cl100k_base" or another encoding's name (with its special tokens), or a regular expression (without)."""
        pointer = ctypes.POINTER(_ffi.tamis_tokenizer)()
        data = bytes(data)
        library().tamis_tokenizer_from_bytes(
            data, len(data), choice(format, _FORMATS, "format"), None if pattern is None else pattern.encode(),
            ctypes.byref(pointer))
        return cls._of(pointer)

    @classmethod
    def from_str(cls, json: str) -> Tokenizer:
        """The text of a tokenizer.json."""
        return cls.from_bytes(json.encode())

    @classmethod
    def _of(cls, pointer: Any) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._adopt(pointer)
        return tokenizer

    def _adopt(self, pointer: Any) -> None:
        self._handle = Handle(pointer, "tamis_tokenizer_destroy", "Tokenizer")
        info = _ffi.tamis_tokenizer_info(struct_size=ctypes.sizeof(_ffi.tamis_tokenizer_info))
        library().tamis_tokenizer_get_info(pointer, ctypes.byref(info))
        self._info = info

    # -------------------------------------------------------------------------------------------- vocabulary

    @property
    def model(self) -> str:
        """"BPE", "WordPiece", "Unigram" or "WordLevel"."""
        return _MODELS[self._info.model]

    @property
    def vocab_size(self) -> int:
        """Largest id + 1, added tokens included. A model's embedding may have more rows."""
        return int(self._info.vocabulary_size)

    @property
    def unk_id(self) -> int | None:
        return None if self._info.unknown_id < 0 else int(self._info.unknown_id)

    @property
    def pad_id(self) -> int | None:
        return None if self._info.pad_id < 0 else int(self._info.pad_id)

    @property
    def byte_level(self) -> bool:
        """Whether any bytes can be spelled, so that decode(encode(x)) is x."""
        return bool(self._info.byte_level)

    @property
    def file_max_tokens(self) -> int | None:
        """Length that the file would truncate to. Nothing is truncated unless `max_tokens` says so."""
        return int(self._info.max_tokens) or None

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Tokens that the template adds."""
        return int(self._info.pair_tokens if pair else self._info.template_tokens)

    def id_to_token(self, id: int) -> str | None:
        """The piece of an id as its vocabulary writes it; None if there is none."""
        try:
            return read_string(library().tamis_tokenizer_piece, self._handle.pointer, int32(id, "id"))
        except NotFoundError:
            return None

    def token_to_id(self, token: str) -> int | None:
        """The id of a piece, added tokens first; None if there is none."""
        data = token.encode()
        id = ctypes.c_int32()
        try:
            library().tamis_tokenizer_id(self._handle.pointer, data, len(data), ctypes.byref(id))
        except NotFoundError:
            return None
        return id.value

    def is_special(self, id: int) -> bool:
        """Whether the id is that of a special token: `decode` leaves it out when asked to skip those."""
        return bool(library().tamis_tokenizer_is_special(self._handle.pointer, int32(id, "id")))

    def with_tokens(
        self, tokens: Iterable[str], *, special: bool = True, single_word: bool = False, lstrip: bool = False,
        rstrip: bool = False, normalized: bool = False,
    ) -> Tokenizer:
        """A copy with more tokens. One that the vocabulary has keeps its id; the others get the next free ids in this order."""
        contents = [_bytes(token, "tokens")[0] for token in tokens]
        flags = (
            special * _ffi.TAMIS_TOKEN_SPECIAL | single_word * _ffi.TAMIS_TOKEN_SINGLE_WORD | lstrip * _ffi.TAMIS_TOKEN_LSTRIP
            | rstrip * _ffi.TAMIS_TOKEN_RSTRIP | normalized * _ffi.TAMIS_TOKEN_NORMALIZED)
        data, offsets = _joined(contents)
        pointer = ctypes.POINTER(_ffi.tamis_tokenizer)()
        library().tamis_tokenizer_add(
            self._handle.pointer, data, _i64(offsets), len(contents),
            (_ffi.tamis_token_flags * len(contents))(*[flags] * len(contents)), ctypes.byref(pointer))
        return self._of(pointer)

    # ------------------------------------------------------------------------------------------------ encode

    def encode(
        self, text: Text, pair: Text | None = None, *, add_special_tokens: bool = True, parse_special: bool = True,
        max_tokens: int | None = None, offsets: str | None = None,
    ) -> Encoding:
        """The tokens of a text, or of a pair of texts.

        Parameters
        ----------
        text, pair
            str, or bytes of UTF-8; what is ill-formed counts as U+FFFD.
        add_special_tokens
            Adds what the template adds ([CLS] .. [SEP]).
        parse_special
            Whether "<|im_start|>" in the text is the special token. False for untrusted text.
        max_tokens
            Cuts the end of the text (of a pair: of the longer one) so that at most this many tokens remain.
        offsets
            "chars" (the default for str) or "bytes" (the default for bytes).
        """
        first, is_bytes = _bytes(text, "text")
        second = None if pair is None else _bytes(pair, "pair")[0]
        options = _options(add_special_tokens, parse_special, max_tokens, offsets or ("bytes" if is_bytes else "chars"))
        pointer = ctypes.POINTER(_ffi.tamis_encoding)()
        lib = library()
        lib.tamis_tokenizer_encode(
            self._handle.pointer, ctypes.byref(options), first, len(first), second, 0 if second is None else len(second),
            ctypes.byref(pointer))
        return self._encodings(pointer)[0]

    def encode_batch(
        self, texts: Sequence[Text], *, add_special_tokens: bool = True, parse_special: bool = True,
        max_tokens: int | None = None, offsets: str | None = None, ctx: Context | None = None, progress: Progress = False,
    ) -> list[Encoding]:
        """The tokens of each text, on the threads of the context. Arguments as in :meth:`encode`."""
        contents = [_bytes(text, "texts") for text in texts]
        unit = offsets or ("bytes" if contents and contents[0][1] else "chars")
        options = _options(add_special_tokens, parse_special, max_tokens, unit)
        data, borders = _joined([c for c, _ in contents])
        pointer = ctypes.POINTER(_ffi.tamis_encoding)()
        with ProgressCallback(progress, "encode") as callback:
            library().tamis_tokenizer_encode_batch(
                pointer_of(ctx), self._handle.pointer, ctypes.byref(options), data, _i64(borders), len(contents), callback,
                None, ctypes.byref(pointer))
        return self._encodings(pointer)

    def count(
        self, text: Text, *, add_special_tokens: bool = True, parse_special: bool = True, max_tokens: int | None = None
    ) -> int:
        """The number of tokens that :meth:`encode` would give."""
        data, _ = _bytes(text, "text")
        options = _options(add_special_tokens, parse_special, max_tokens, "bytes")
        n = ctypes.c_int64()
        library().tamis_tokenizer_count(self._handle.pointer, ctypes.byref(options), data, len(data), ctypes.byref(n))
        return n.value

    def _encodings(self, pointer: Any) -> list[Encoding]:
        lib = library()
        try:
            view = _ffi.tamis_encoded(struct_size=ctypes.sizeof(_ffi.tamis_encoded))
            encodings = []
            for i in range(lib.tamis_encoding_count(pointer)):
                lib.tamis_encoding_get(pointer, i, ctypes.byref(view))
                columns = [_column(getattr(view, name), view.n) for name in ("ids", "starts", "ends", "words", "types")]
                offsets = np.stack(columns[1:3], axis=1)
                for array in (columns[0], offsets, *columns[3:]):
                    array.flags.writeable = False
                encodings.append(Encoding(columns[0], offsets, columns[3], columns[4], self))
            return encodings
        finally:
            lib.tamis_encoding_destroy(pointer)

    # ------------------------------------------------------------------------------------------------ decode

    def decode(self, ids: Iterable[int] | NDArray[Any], *, skip_special_tokens: bool = True) -> str:
        """The text of ids. Ids without a piece give nothing; bytes that are no UTF-8 come out as U+FFFD."""
        array = np.ascontiguousarray(list(ids) if not isinstance(ids, np.ndarray) else ids)
        if array.size and (array.dtype.kind not in "iu" or array.min() < -(2**31) or array.max() >= 2**31):
            raise InvalidArgumentError(f"ids have dtype {array.dtype}, expected integers that fit 32 bits")
        array = np.ascontiguousarray(array.ravel(), dtype=np.int32)
        pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        return _text(
            library().tamis_tokenizer_decode, self._handle.pointer, pointer if array.size else None, array.size,
            int(bool(skip_special_tokens)), room=8 * array.size + 64)

    def decode_pieces(self, pieces: Sequence[str]) -> str:
        """The text of pieces by the file's decoders alone (`convert_tokens_to_string`)."""
        data, offsets = _joined([_bytes(piece, "pieces")[0] for piece in pieces])
        return _text(
            library().tamis_tokenizer_decode_pieces, self._handle.pointer, data, _i64(offsets), len(pieces),
            room=2 * len(data) + 64)

    def decode_stream(self, *, skip_special_tokens: bool = True) -> TokenStream:
        """A decoder for ids that come one at a time."""
        return TokenStream(self, skip_special_tokens)

    def close(self) -> None:
        self._handle.close()

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return f"tamis.Tokenizer({self.model}, {self.vocab_size} ids)"


class TokenStream:
    """Text as ids come. What may still change (half a character, a run of byte tokens) is held back; the texts joined are the
    text of all ids."""

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        pointer = ctypes.POINTER(_ffi.tamis_decoder)()
        library().tamis_decoder_create(tokenizer._handle.pointer, int(bool(skip_special_tokens)), ctypes.byref(pointer))
        self._handle = Handle(pointer, "tamis_decoder_destroy", "TokenStream")

    def push(self, id: int) -> str:
        """The text that is certain now that this id has come."""
        return _text(library().tamis_decoder_push, self._handle.pointer, int32(id, "id"), room=256)

    def finish(self) -> str:
        """What was held back. The next id starts a new text."""
        return _text(library().tamis_decoder_finish, self._handle.pointer, room=256)


def _bytes(text: Any, argument: str) -> tuple[bytes, bool]:
    """UTF-8 bytes of a text, and whether it was bytes. A lone surrogate is U+FFFD."""
    if isinstance(text, str):
        try:
            return text.encode(), False
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode(), False
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text), True
    raise InvalidArgumentError(f"{argument} is {type(text).__name__}, expected str or bytes")


def _options(add_special: bool, parse_special: bool, max_tokens: int | None, offsets: str) -> Any:
    options = _ffi.tamis_encode_options()
    library().tamis_encode_options_init(ctypes.byref(options))
    options.add_special = int(bool(add_special))
    options.parse_special = int(bool(parse_special))
    options.offsets = choice(offsets, _OFFSETS, "offsets")
    if max_tokens is not None:
        options.max_tokens = integer(max_tokens, "max_tokens")
        if options.max_tokens < 1:
            raise InvalidArgumentError(f"max_tokens is {max_tokens}, expected at least 1, or None")
    return options


def _joined(contents: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    offsets = np.zeros(len(contents) + 1, np.int64)
    np.cumsum([len(c) for c in contents], out=offsets[1:])
    return b"".join(contents), offsets


def _i64(array: NDArray[np.int64]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))


def _column(pointer: Any, n: int) -> NDArray[np.int32]:
    return np.ctypeslib.as_array(pointer, (n,)).copy() if n else np.empty(0, np.int32)


def _text(function: Any, *arguments: Any, room: int) -> str:
    """Calls a (.., buffer, capacity, needed) function whose text may hold NUL characters."""
    needed = ctypes.c_size_t(0)
    while True:
        buffer = ctypes.create_string_buffer(room)
        try:
            function(*arguments, buffer, room, ctypes.byref(needed))
        except ValueError:
            if needed.value + 1 <= room:
                raise
            room = needed.value + 1
            continue
        return buffer.raw[: needed.value].decode()
