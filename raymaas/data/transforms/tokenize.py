"""Tokens: a text becomes a row of whole numbers, cut or filled up to one length."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from raymaas.data.transforms.base import Step, Transform
from raymaas.data.transforms.frame import Frame, is_text

PADDING = 0
FIRST_BYTE = 1
UNKNOWN, FIRST_WORD = 1, 2
_WORD = re.compile(r"\w+|[^\w\s]")


class Tokenized(Step):
    """float32 [N, length]: 0 after a text's end. Of bytes, 1 + the byte; of words, 1 for any that is not known."""

    column: str
    length: int
    words: tuple[str, ...] | None
    """From token 2 on; None where tokens are bytes."""

    def apply(self, frame: Frame) -> Frame:
        texts_N = frame.require(self.column)
        tokens_NL = np.full((len(texts_N), self.length), PADDING, np.float32)
        for row, text in enumerate(texts_N):
            if self.words is None:
                tokens = [FIRST_BYTE + byte for byte in _utf8(text)[: self.length]]
            else:
                tokens = [self.token_of.get(word, UNKNOWN) for word in words_of(text)[: self.length]]
            tokens_NL[row, : len(tokens)] = tokens
        return frame.with_columns({self.column: tokens_NL})

    @cached_property
    def token_of(self) -> dict[str, int]:
        """The token of each word that is known."""
        return {word: FIRST_WORD + place for place, word in enumerate(self.words or ())}

    @property
    def vocabulary(self) -> int:
        return FIRST_BYTE + 256 if self.words is None else FIRST_WORD + len(self.words)


class Tokenize(Transform):
    """Turns a text into a row of tokens, bytes or words; longer texts are cut, 0 fills up shorter ones.

    Words are runs of letters and digits in lower case, and each other sign; known are the most frequent of the
    training rows. Bytes are those of UTF-8, and none is ever unknown.
    """

    column: str | None = Field(default=None, description="Column of text; default the only one there is.")
    kind: Literal["bytes", "words"] = Field("words", description="What a token is.")
    length: int = Field(ge=1, description="Tokens in a row.")
    vocabulary: int | None = Field(default=None, ge=1, description="words only: known words. Absent: 10,000.")

    @model_validator(mode="after")
    def _words_have_a_vocabulary(self) -> Tokenize:
        if self.vocabulary is not None and self.kind == "bytes":
            raise ValueError("vocabulary belongs to {kind: words}; there are 256 bytes")
        return self

    def fit(self, frame: Frame) -> Tokenized:
        named = None if self.column is None else (self.column,)
        column = frame.choose(named, among=is_text, what="text")[0]
        texts_N = frame.require(column)
        words = None if self.kind == "bytes" else _most_frequent(texts_N, self.vocabulary or 10_000)
        return Tokenized(column=column, length=self.length, words=words)


def words_of(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return _WORD.findall(text.lower())


def _most_frequent(texts_N: np.ndarray, count: int) -> tuple[str, ...]:
    counts = Counter(word for text in texts_N for word in words_of(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:count])


def _utf8(text: str) -> bytes:
    # JSON can carry half of a surrogate pair, which has no UTF-8.
    return text.encode("utf-8", errors="replace")
