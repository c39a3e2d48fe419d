"""Small exact models without weights: a known distribution, a transformer with real slots, and the edges.

In each the mask is the last id. All but `attending` compute each row by itself, so that a row's predictions are equal
to the last bit whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from ..backends.base import ModelBackend
from ..backends.memory import wrap
from ..backends.transformer import TransformerBackend
from ..backends.visibility import AttentionBlocks

START = torch.tensor([0.62, 0.27, 0.11], dtype=torch.float64)
"""P(first token) of the known distribution, a Markov chain over three tokens."""

MOVE = torch.tensor([[0.71, 0.22, 0.07], [0.13, 0.58, 0.29], [0.35, 0.19, 0.46]], dtype=torch.float64)
"""P(next token | token) of the known distribution, [from to]."""


def random_llama(
    layers: int,
    seed: int,
    look_back: int = 0,
    vocab: int = 13,
    shares_slots: bool = True,
    attention_block: AttentionBlocks | int | None = None,
) -> TransformerBackend:
    """A bidirectional Llama in float64 with random weights; end token 0, mask 12."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.6,
        pad_token_id=None,
        is_causal=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).double().eval()
    return TransformerBackend(
        model, 12, look_back=look_back, attention_block=attention_block, eos_ids=(0,), shares_slots=shares_slots
    )


def chain_conditionals(tokens: Tensor) -> Tensor:
    """P(token at a position | the revealed tokens) under the Markov chain: [t] with masks 3 -> [t 3].

    Forward-backward: what is revealed on the left and on the right of a position.
    """
    seen = torch.ones(len(tokens), 3, dtype=torch.float64)
    revealed = tokens < 3
    seen[revealed] = torch.eye(3, dtype=torch.float64)[tokens[revealed]]
    left = [START]
    for evidence in seen[:-1]:
        left.append((left[-1] * evidence) @ MOVE)
    right = [torch.ones(3, dtype=torch.float64)]
    for evidence in seen.flip(0)[:-1]:
        right.append(MOVE @ (right[-1] * evidence))
    joint = torch.stack(left) * seen * torch.stack(right[::-1])
    return joint / joint.sum(-1, keepdim=True)


def _by_row(vocab: int, logits: Callable[[Tensor], Tensor]) -> ModelBackend:
    """A model from a function of one row's tokens, [t] -> logits [t v - 1] of all tokens but the mask."""

    def model(tokens: Tensor, attention_mask: Tensor) -> Tensor:
        found = torch.zeros(*tokens.shape, vocab, dtype=torch.float64)
        for i, valid in enumerate(attention_mask):
            found[i, valid, : vocab - 1] = logits(tokens[i, valid])
        return found

    return wrap(model, vocab - 1, vocab, eos_ids=(0,) if vocab > 2 else (), takes_attention_mask=True)


def _certain(tokens: Tensor) -> Tensor:
    """A probability of exactly 1: position i holds token i modulo 3."""
    likely = torch.arange(len(tokens)) % 3
    return torch.where(torch.arange(3) == likely[:, None], 0.0, -torch.inf).double()


def _graded(tokens: Tensor) -> Tensor:
    """Positions that are almost alike, and no two the same: what a planner adds to confidence then decides."""
    position, token = torch.arange(len(tokens), dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    return 0.2 * torch.sin(1.7 * position + 2.3 * token + 0.1 * position * token)


MODELS: dict[str, Callable[[], ModelBackend]] = {
    "attending": cache(lambda: random_llama(layers=2, seed=0)),
    "attending-shifted": cache(lambda: random_llama(layers=2, seed=0, look_back=1)),
    "markov": cache(lambda: _by_row(4, lambda tokens: chain_conditionals(tokens).log())),
    "graded": cache(lambda: _by_row(5, _graded)),
    "uniform": cache(lambda: _by_row(5, lambda tokens: torch.zeros(len(tokens), 4, dtype=torch.float64))),
    "certain": cache(lambda: _by_row(4, _certain)),
    "one-token": cache(lambda: _by_row(2, lambda tokens: torch.zeros(len(tokens), 1, dtype=torch.float64))),
}
"""Models by name; one token and the mask is the smallest vocabulary there is."""

EDGES = ("uniform", "certain", "one-token")
UNTIED = tuple(name for name in MODELS if name != "uniform")
"""Models on which moves are never equally good up to rounding, which may differ with the batch."""

EXACT = "markov"
