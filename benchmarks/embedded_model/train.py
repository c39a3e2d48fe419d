"""Train the embedded model: a 1.7-million-parameter LLaDA that solves small Sudokus and Countdown, a character a token.

The objective is LLaDA's (arXiv:2502.09992, eq. 3): mask each token of the response with probability t, t ~ U(0, 1),
and weigh the cross-entropy of the masked tokens by 1/t. Matrices are trained by Muon, the rest by AdamW. The learning
rate is constant after a warm-up and falls linearly over the last share of the steps, so that a longer run begins like a
shorter one. Everything is drawn from one seed; a run that was cut off goes on from its last state.

    python benchmarks/embedded_model/train.py --out mdm_sampling/backends/embedded_model
"""

import time
from pathlib import Path
from typing import Any

import click
import torch
from checkpoint import save
from data import Batch, Batches
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM
from vocabulary import ID, MASK, VOCABULARY

WARM_UP = 50
DECAY = 0.3  # share of the steps over which the learning rate falls

CONFIG = LlamaConfig(
    vocab_size=len(VOCABULARY),
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=8,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=256,
    rope_theta=10_000.0,
    rms_norm_eps=1e-5,
    pad_token_id=None,
    tie_word_embeddings=False,
    is_causal=False,
)


def loss_of(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    canvas = batch.tokens.masked_fill(batch.masked, ID[MASK])
    hidden = model.model(canvas, use_cache=False, is_causal=False).last_hidden_state
    losses = cross_entropy(model.lm_head(hidden[batch.masked]), batch.tokens[batch.masked], reduction="none")
    weights = batch.weight[batch.masked.nonzero()[:, 0]]
    length = canvas.shape[1] - int(batch.masked.any(0).nonzero()[0])
    return (losses * weights).sum() / (length * len(canvas))


class Training:
    """A model, its optimizers and the number of steps taken; saved and resumed as a whole."""

    def __init__(self, seed: int, peak: float) -> None:
        torch.manual_seed(seed)
        self.model = LlamaForCausalLM(CONFIG).train()
        matrices = [p for name, p in self.model.model.layers.named_parameters() if p.ndim == 2]
        held = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in held]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=peak, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.99), weight_decay=0.01),
        ]
        self.peak = peak
        self.step = 0

    def take_step(self, batch: Batch, steps: int) -> float:
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.peak * share_of_peak(self.step, steps)
            optimizer.zero_grad()
        loss = loss_of(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return loss.item()

    def save_state(self, file: Path) -> None:
        state: dict[str, Any] = {"model": self.model.state_dict(), "step": self.step}
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(state, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)

    def load_state(self, file: Path) -> None:
        state = torch.load(file)
        self.model.load_state_dict(state["model"])
        self.step = state["step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def share_of_peak(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of its peak."""
    return min((step + 1) / WARM_UP, 1.0, max(0.01, (steps - step) / (DECAY * steps)))


def train(steps: int, seed: int, peak: float, state_file: Path, save_every: int = 100) -> LlamaForCausalLM:
    """Train, writing the state every `save_every` steps and going on from it if there is one."""
    training, batches = Training(seed, peak), Batches(seed)
    if state_file.exists():
        training.load_state(state_file)
    began, mean = time.time(), 0.0
    while training.step < steps:
        mean += training.take_step(batches[training.step], steps) / save_every
        if training.step % save_every == 0 or training.step == steps:
            click.echo(f"step {training.step}/{steps}  loss {mean:.4f}  {time.time() - began:.0f} s")
            mean = 0.0
            training.save_state(state_file)
    return training.model.eval()


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the checkpoint.")
@click.option("--steps", default=3600, show_default=True)
@click.option("--learning-rate", default=3e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True, help="CPU threads; the last bits of the weights depend on it.")
@click.option("--state", type=click.Path(path_type=Path), help="Where to keep the state  [default: OUT/train.state]")
def main(out: Path, steps: int, learning_rate: float, seed: int, threads: int, state: Path | None) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    save(train(steps, seed, learning_rate, state or out / "train.state"), out)


if __name__ == "__main__":
    main()
