"""Info-Gain as published code works, for comparison: one row, deliberately plain, neither better nor worse.

Logits for every computed position, zero-padded to the whole canvas; softmax, clamp, logarithm, product and sum over
all of it; keys and values copied for every candidate; the winner's logits are the next step's.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from mdm_sampling.backends.slots import cache_argument


class CopiedCache(Cache):
    """Keys and values of earlier positions, a copy for each candidate, in front of or around what is computed."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]], start: int, copies: int, around: bool) -> None:
        super().__init__(layers=[])
        self.kept = [tuple(x.expand(copies, -1, -1, -1).clone() for x in layer) for layer in layers]
        self.start = start
        self.around = around

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.start

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return (self.kept[0][0].shape[2] if self.around else self.start + query_length), 0

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = self.kept[layer_idx]
        if self.around:
            stop = self.start + key.shape[2]
            keys[:, :, self.start : stop], values[:, :, self.start : stop] = key, value
            return keys, values
        return torch.cat([keys[:, :, : self.start], key], 2), torch.cat([values[:, :, : self.start], value], 2)


class Recorder(Cache):
    """Keeps the keys and values of a full pass."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.layers_seen: list[tuple[Tensor, Tensor]] = []

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return query_length, 0

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.layers_seen.append((key, value))
        return key, value


@dataclass
class PlainInfoGain:
    """One row at a time. `cache` is none, prefix or dual; with one candidate it decodes by confidence."""

    model: Any
    mask_id: int
    cache: str
    candidates: int = 8
    position_temperature: float = 0.1
    block_size: int = 32
    steps: int = 64

    @torch.no_grad()
    def generate(self, prompt: list[int], new: int, seed: int = 0) -> list[int]:
        device = self.model.device
        self.generator = torch.Generator(device).manual_seed(seed)
        canvas = torch.tensor([[*prompt, *[self.mask_id] * new]], device=device)
        blocks = -(-new // self.block_size)
        for start in range(len(prompt), len(prompt) + new, self.block_size):
            stop = min(start + self.block_size, canvas.shape[1])
            canvas = self._fill_block(canvas, start, stop, max(1, self.steps // blocks))
        return canvas[0].tolist()

    def _fill_block(self, canvas: Tensor, start: int, stop: int, steps: int) -> Tensor:
        recorder = Recorder()
        logits = self._project(self._trunk(canvas, 0, canvas.shape[1], recorder))
        self.layers = recorder.layers_seen if self.cache != "none" else []
        cached: Tensor | None = logits
        for step in range(steps):
            masked = canvas == self.mask_id
            masked[:, :start] = masked[:, stop:] = False
            left = int(masked.sum())
            if not left:
                break
            if cached is None:
                cached = self._logits(canvas, start, stop)
            quota = -(-left // (steps - step))
            canvas, cached = self._step(canvas, cached, masked, quota, start, stop)
        return canvas

    def _step(
        self, canvas: Tensor, logits: Tensor, masked: Tensor, quota: int, start: int, stop: int
    ) -> tuple[Tensor, Tensor | None]:
        probabilities = logits.float().softmax(-1)
        confidence, tokens = probabilities.max(-1)
        entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(-1)
        moves = self._moves(confidence.masked_fill(~masked, -torch.inf), quota)
        if len(moves) == 1 or quota >= int(masked.sum()):
            canvas = canvas.clone()
            canvas[0, moves[0]] = tokens[0, moves[0]]
            return canvas, None
        futures = canvas.repeat(len(moves), 1)
        for i, move in enumerate(moves):
            futures[i, move] = tokens[0, move]
        ahead = self._logits(futures, start, stop)
        after = ahead.float().softmax(-1)
        uncertainty = -(after * after.clamp(min=1e-12).log()).sum(-1)
        scores = []
        for i, move in enumerate(moves):
            still = futures[i] == self.mask_id
            scores.append(-entropy[0, move].sum().item() - uncertainty[i][still].mean().item())
        best = max(range(len(moves)), key=scores.__getitem__)
        return futures[best : best + 1], ahead[best : best + 1]

    def _moves(self, confidence: Tensor, quota: int) -> list[list[int]]:
        """Distinct sets of positions, the most confident ones first."""
        moves = [sorted(confidence[0].topk(quota).indices.tolist())]
        for _ in range(self.candidates - 1):
            noise = -torch.log(
                -torch.log(torch.rand(confidence.shape, generator=self.generator, device=confidence.device))
            )
            move = sorted((confidence / self.position_temperature + noise)[0].topk(quota).indices.tolist())
            if move not in moves:
                moves.append(move)
        return moves

    def _logits(self, canvases: Tensor, start: int, stop: int) -> Tensor:
        """Logits of every position of the canvas, zeros where nothing was computed: [n t v]."""
        length = canvases.shape[1]
        if self.cache == "none":
            return self._project(self._trunk(canvases, 0, length, None))
        last = length if self.cache == "prefix" else stop
        past = CopiedCache(self.layers, start, len(canvases), around=self.cache == "dual")
        computed = self._project(self._trunk(canvases, start, last, past))
        padded = computed.new_zeros(len(canvases), length, computed.shape[-1])
        padded[:, start:last] = computed
        return padded

    def _trunk(self, canvases: Tensor, start: int, stop: int, past: Any) -> Tensor:
        positions = torch.arange(start, stop, device=canvases.device)[None]
        hidden: Tensor = self.model.model(
            input_ids=canvases[:, start:stop],
            position_ids=positions,
            use_cache=False,
            is_causal=False,
            **{cache_argument(self.model.model): past},
        ).last_hidden_state
        return hidden

    def _project(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.lm_head(hidden)
        logits[..., self.mask_id] = -1e9
        return logits
