"""A decoder Transformer over bytes: it learns to tell the next byte from those before it.

A. Radford et al., Language Models are Unsupervised Multitask Learners (2019), small and without a tokenizer: there
are 256 bytes and a mark for the beginning. Every byte of a row is predicted, the first from the mark alone.
Legend: B rows, T bytes of a row, E embedding, V = 256 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.nn.functional import cross_entropy

from raymaas.models.attention import Block, BlockConfig
from raymaas.models.base import NetworkConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Method, SelfSupervised
from raymaas.specs.tasks import Task
from raymaas.specs.versions import Signature, TensorSpec

_BYTES = 256
_BEGIN = 256  # the mark before a row
_MOST_BYTES = 4096  # of one generated text; a replica writes them one after another
_COLDEST = 1e-3  # logits divided by less are beyond what float32 holds


class GPTConfig(BlockConfig, NetworkConfig):
    """Its sizes; `shape` is [T], as many bytes as it can see at once."""

    task: ClassVar[Task] = "language"

    shape: tuple[PositiveInt] = Field(description="[bytes] of a row. Absent: taken from the data.")


class GPT(Chained, SelfSupervised):
    """z = embedding[begin, b1, ..., bT] + position; blocks of causal attention; logits = norm(z) embedding'.

    What it is trained by are the nats that each row costs per byte, [B, 1].
    """

    Config: ClassVar[type[GPTConfig]] = GPTConfig
    figures: ClassVar[Mapping[str, tuple[float, ...]]] = {"bits_per_byte": (1 / math.log(2),)}

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.window = config.shape[0]
        self.embed = nn.Embedding(_BYTES + 1, config.width)
        self.position_TE = nn.Parameter(0.02 * torch.randn(self.window + 1, config.width))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config, causal=True) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        for name, weight in self.blocks.named_parameters():
            if name.endswith(
                ("attention.out.weight", "down.weight")
            ):  # what is added to z, once by each block
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.depth))

    def chain(self) -> tuple[Link, ...]:
        blocks = (Link(block, block) for block in self.blocks)
        return (
            Link(self._tokens, self.embed, self.position_TE),
            *blocks,
            Link(self._cost, self.norm, self.embed, sees_rows=True),
        )

    def infer(self, x_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        bytes_BT = x_B.long()
        logits_BTV = self._next(bytes_BT)
        return self._nats(logits_BTV[:, :-1], bytes_BT) / math.log(2), logits_BTV[:, -1].softmax(dim=-1)

    def _next(self, bytes_BT: torch.Tensor) -> torch.Tensor:
        """Logits of one more than there are bytes: what may come after the mark, and after each byte."""
        return self._logits(self.blocks(self._tokens(bytes_BT)))

    def _tokens(self, x_BT: torch.Tensor) -> torch.Tensor:
        bytes_BT = x_BT.long()
        begin_B1 = bytes_BT.new_full((bytes_BT.shape[0], 1), _BEGIN)
        tokens_BT = torch.cat([begin_B1, bytes_BT], dim=1)
        z_BTE: torch.Tensor = self.dropout(self.embed(tokens_BT) + self.position_TE[: tokens_BT.shape[1]])
        return z_BTE

    def _logits(self, z_BTE: torch.Tensor) -> torch.Tensor:
        logits_BTV: torch.Tensor = self.norm(z_BTE) @ self.embed.weight[:_BYTES].T
        return logits_BTV

    def _cost(self, z_BTE: torch.Tensor, x_BT: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._nats(self._logits(z_BTE)[:, :-1], x_BT.long())], dim=1)

    @staticmethod
    def _nats(logits_BTV: torch.Tensor, bytes_BT: torch.Tensor) -> torch.Tensor:
        nats_BT = cross_entropy(logits_BTV.float().transpose(1, 2), bytes_BT, reduction="none")
        return nats_BT.mean(dim=1)

    def methods(self) -> Mapping[str, Method]:
        signature = Signature(
            inputs=(
                TensorSpec(name="prompt", dtype="BYTES", shape=(-1,)),
                TensorSpec(
                    name="max_bytes", dtype="INT32", shape=(-1,), default=200, low=0, high=_MOST_BYTES
                ),
                TensorSpec(name="temperature", dtype="FP32", shape=(-1,), default=0.8, low=0, high=100),
                TensorSpec(name="top_k", dtype="INT32", shape=(-1,), default=50),
                TensorSpec(name="seed", dtype="INT64", shape=(-1,), default=0),
            ),
            outputs=(TensorSpec(name="text", dtype="BYTES", shape=(-1,)),),
        )
        return {"generate": Method(signature, self._generate)}

    def _generate(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = ("prompt", "max_bytes", "temperature", "top_k", "seed")
        texts = [
            self.continued(
                str(prompt).encode(),
                max_bytes=int(count),
                temperature=float(temperature),
                top_k=int(top_k),
                seed=int(seed),
            ).decode(errors="replace")
            for prompt, count, temperature, top_k, seed in zip(*(inputs[name] for name in names), strict=True)
        ]
        return {"text": np.array(texts, dtype=object)}

    def continued(self, prompt: bytes, *, max_bytes: int, temperature: float, top_k: int, seed: int) -> bytes:
        """What the network writes after `prompt`, `max_bytes` bytes. The same arguments give the same text.

        Each byte is drawn from the `top_k` most probable (0: from all), their logits divided by `temperature`; at
        temperature 0, or next to it, it is the most probable one. Of what is longer than a row, the last part is seen.
        """
        chance = torch.Generator().manual_seed(seed)
        text = bytearray(prompt)
        for _ in range(max_bytes):
            seen = torch.tensor([list(text[-self.window :])], dtype=torch.long, device=self.device)
            logits_V = self._next(seen)[0, -1].float().cpu()
            text.append(_drawn(logits_V, temperature=temperature, top_k=top_k, chance=chance))
        return bytes(text[len(prompt) :])


def _drawn(logits_V: torch.Tensor, *, temperature: float, top_k: int, chance: torch.Generator) -> int:
    if temperature < _COLDEST:
        return int(logits_V.argmax())
    likeliest = logits_V.topk(top_k if 0 < top_k < _BYTES else _BYTES)
    probabilities_K = (likeliest.values / temperature).softmax(dim=-1)
    return int(likeliest.indices[torch.multinomial(probabilities_K, 1, generator=chance)])
