"""LangChain: a document compressor for ``ContextualCompressionRetriever`` and chains. Needs langchain-core.

>>> from tamis.integrations.langchain import TamisCompressor
>>> retriever = ContextualCompressionRetriever(base_compressor=TamisCompressor(rate=0.4), base_retriever=store.as_retriever())
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr

from ..compression import PromptCompressor


class TamisCompressor(BaseDocumentCompressor):
    """Shortens documents by :class:`tamis.PromptCompressor`. The texts lose words, the metadata stays; a document of which nothing is left
    (or that the context-level filter drops) is left out. The query is not used: what is kept depends on the documents alone.

    Fields: ``model_name``, ``device_map`` and ``compat`` as in PromptCompressor; ``rate`` and ``target_token`` (over all documents);
    ``options``: further keyword arguments of :meth:`tamis.PromptCompressor.compress`, such as ``{"force_tokens": ["?"], "scope": "prompt"}``.
    ``compressor`` takes one that is loaded already.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    model_name: Optional[str] = None
    device_map: str = "cpu"
    compat: bool = False
    rate: float = 0.5
    target_token: int = -1
    options: dict[str, Any] = Field(default_factory=dict)
    compressor: Optional[PromptCompressor] = None
    _loaded: Optional[PromptCompressor] = PrivateAttr(default=None)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> list[Document]:
        if self._loaded is None:
            self._loaded = self.compressor or PromptCompressor(self.model_name, self.device_map, compat=self.compat)
        done = self._loaded.compress(
            [document.page_content for document in documents], rate=self.rate, target_token=self.target_token,
            **{"progress": False, **self.options})
        return [
            document.model_copy(update={"page_content": c.text})
            for document, c in zip(documents, done.contexts)
            if c.kept and (c.text.strip() or not document.page_content.strip())
        ]
