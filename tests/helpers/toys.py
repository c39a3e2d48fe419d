"""Small models for the tests of the loop: a float64 transformer with slots, a plain callable, and a scripted one."""

from functools import cache

import torch
from torch import Tensor

import mdm_sampling as mdm
from mdm_sampling.testing.models import random_llama as random_llama

VOCAB, MASK, EOS = 13, 12, 0


@cache
def toy_transformer(
    look_back: int = 0, shares_slots: bool = True, attention_block: mdm.AttentionBlocks | int | None = None
) -> mdm.TransformerBackend:
    """A two-layer `random_llama`, the same object for the same arguments."""
    return random_llama(2, 0, look_back, shares_slots=shares_slots, attention_block=attention_block)


class ToyModel(torch.nn.Module):
    """Tokens [b t] -> logits [b t v]: each position reads its own token, its position and the mean of its row."""

    def __init__(self, seed: int = 0, vocab: int = VOCAB) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embed = torch.randn(vocab, 8, generator=generator).double()
        self.position = torch.randn(64, 8, generator=generator).double()
        self.out = torch.randn(8, vocab, generator=generator).double() * 1.5
        self.calls: list[Tensor] = []

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        self.calls.append(tokens.clone())
        valid = torch.ones_like(tokens, dtype=torch.bool) if attention_mask is None else attention_mask
        positions = (valid.cumsum(1) - 1).clamp(min=0)
        x = torch.tanh(self.embed[tokens] + self.position[positions])
        mean = (x * valid[..., None]).sum(1, keepdim=True) / valid.sum(1)[:, None, None]
        return torch.tanh(x + 2 * mean) @ self.out


def toy_callable(seed: int = 0) -> mdm.ModelBackend:
    return mdm.wrap(ToyModel(seed), mask_id=MASK, vocab_size=VOCAB, eos_ids=(EOS,), takes_attention_mask=True)


def scripted(table: Tensor, mask_id: int, eos_ids: tuple[int, ...] = ()) -> mdm.ModelBackend:
    """A model whose logits [t v] do not depend on the tokens."""
    return mdm.wrap(
        lambda tokens: table.expand(len(tokens), *table.shape).clone(),
        mask_id=mask_id,
        vocab_size=table.shape[1],
        eos_ids=eos_ids,
    )
