"""Models in memory: what is refused at the door, whose mode and whose tokens stay as they are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import EOS, MASK, VOCAB, ToyModel
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

import mdm_sampling as mdm
from mdm_sampling.evaluation.likelihood import greedy_checks, log_likelihoods

ROW = ([1, 2, 3], [MASK] * 6)


class Net(nn.Module):
    """A model with dropout, which shows at each forward whether a part of it is in training mode."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner = nn.Sequential(nn.Embedding(VOCAB, 16), nn.Dropout(0.5), nn.Linear(16, VOCAB))
        self.seen: list[bool] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.seen.append(any(module.training for module in self.modules()))
        logits: Tensor = self.inner(tokens)
        return logits


def llama(**changes: Any) -> LlamaForCausalLM:
    settings: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2, "is_causal": False}
    settings |= {"vocab_size": VOCAB, "hidden_size": 8, "intermediate_size": 8, "pad_token_id": None}
    return LlamaForCausalLM(LlamaConfig(**settings | changes))


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


# --- A model's own mode -------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Net], Any]] = {
    "module": lambda net: net,
    "method": lambda net: net.forward,
    "partial": lambda net: partial(net.forward),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["training", "evaluation", "mixed"])
def test_a_model_decodes_in_evaluation_mode_and_keeps_its_own(way: str, mode: str) -> None:
    net = Net()
    backend = mdm.wrap(WAYS[way](net), MASK, VOCAB)
    net.train(mode != "evaluation")
    if mode == "mixed":
        net.inner[0].eval()
    before = modes(net)
    sampler = mdm.Sampler(backend, steps=4)
    first, second = (sampler.fill([ROW], seed=1) for _ in range(2))
    assert first.rows[0].cumulative_entropy == second.rows[0].cumulative_entropy
    assert net.seen
    assert not any(net.seen)
    assert modes(net) == before


def test_a_transformers_model_decodes_in_evaluation_mode_and_keeps_its_own() -> None:
    model = llama(attention_dropout=0.5).train()
    sampler = mdm.Sampler(mdm.TransformerBackend(model, MASK), steps=4)
    entropies = [sampler.fill([ROW]).rows[0].cumulative_entropy for _ in range(2)]
    assert entropies[0] == entropies[1]
    assert all(modes(model))


def test_a_model_that_is_trained_between_two_steps_is_in_its_own_mode_there() -> None:
    """Two runs take turns, and one of them is left before its end."""
    net = Net()
    sampler = mdm.Sampler(mdm.wrap(net, MASK, VOCAB), planner=mdm.Confidence(), steps=6)
    canvas = sampler.canvas([ROW])
    one, other = sampler.iterate(canvas), sampler.iterate(canvas)
    next(other)
    for _ in one:
        assert net.training
        net.train()
        next(other, None)
    other.close()
    assert net.training
    assert not any(net.seen)


def test_a_run_that_fails_gives_the_mode_back() -> None:
    net = Net().train()
    net.inner[2].bias.data[:] = torch.nan
    with pytest.raises(mdm.PredictionError):
        mdm.Sampler(mdm.wrap(net, MASK, VOCAB), steps=4).fill([ROW])
    assert all(modes(net))


def test_likelihoods_are_taken_in_evaluation_mode() -> None:
    net = Net().train()
    backend = mdm.wrap(net, MASK, VOCAB)
    pairs = [([1, 2], [3, 4, 5])]
    assert log_likelihoods(backend, pairs, samples=4) == log_likelihoods(backend, pairs, samples=4)
    greedy_checks(backend, pairs)
    assert not any(net.seen)
    assert all(modes(net))


# --- The canvas's own tokens --------------------------------------------------------------------------------------


def test_a_model_that_writes_into_its_input_does_not_change_the_canvas() -> None:
    plain = ToyModel()

    def careless(tokens: Tensor, attention_mask: Tensor) -> Tensor:
        logits = plain(tokens, attention_mask)
        tokens.fill_(5)
        attention_mask.fill_(False)
        return logits

    settings: dict[str, Any] = {"mask_id": MASK, "vocab_size": VOCAB, "takes_attention_mask": True}
    rows = [ROW, ([4], [MASK] * 3)]
    found, expected = (mdm.Sampler(mdm.wrap(each, **settings), steps=4).fill(rows) for each in (careless, plain))
    assert found.sequences == expected.sequences
    assert found.sequences[0][:3] == ROW[0]


# --- The door -----------------------------------------------------------------------------------------------------


def flat(tokens: Tensor) -> Tensor:
    return torch.zeros(*tokens.shape, VOCAB)


@pytest.mark.parametrize("model", [None, "x", 5, torch.zeros(2), ["x"]], ids=lambda model: type(model).__name__)
def test_what_cannot_be_called_is_no_model(model: Any) -> None:
    with pytest.raises(mdm.ModelError, match="wrap takes a callable"):
        mdm.wrap(model, MASK, VOCAB)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mask_id": "3"}, "mask id '3'"),
        ({"mask_id": None}, "mask id None"),
        ({"mask_id": 3.0}, "mask id 3.0"),
        ({"mask_id": True}, "mask id True"),
        ({"mask_id": -1}, "mask id -1"),
        ({"mask_id": VOCAB}, "outside the vocabulary"),
        ({"vocab_size": "13"}, "vocab_size"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": 13.0}, "vocab_size"),
        ({"eos_ids": 0}, "eos_ids"),
        ({"eos_ids": "0"}, "eos_ids"),
        ({"eos_ids": (0.0,)}, "end id 0.0"),
        ({"eos_ids": (MASK,)}, "also an end id"),
        ({"pad_id": "0"}, "pad_id"),
        ({"pad_id": VOCAB}, "pad_id"),
        ({"pad_id": MASK}, "pad_id"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 2.5}, "max_length"),
        ({"takes_attention_mask": "yes"}, "takes_attention_mask"),
        ({"device": "toaster"}, "device 'toaster'"),
        ({"device": "meta"}, "device 'meta'"),
    ],
    ids=str,
)
def test_settings_of_other_kinds_are_refused_at_once(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(mdm.ModelError) as caught:
        mdm.wrap(flat, **{"mask_id": MASK, "vocab_size": VOCAB} | changes)
    assert word in str(caught.value)


@pytest.mark.parametrize("look", ["wrap", "backend"])
def test_weights_on_meta_are_refused(look: str) -> None:
    with torch.device("meta"):
        model: Any = Net() if look == "wrap" else llama()
    with pytest.raises(mdm.ModelError, match="'meta', which holds no numbers"):
        mdm.wrap(model, MASK, VOCAB) if look == "wrap" else mdm.TransformerBackend(model, MASK)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.to(torch.float8_e4m3fn),
        lambda x: x.to(torch.complex64),
        lambda x: x.to_sparse(),
        lambda x: x.to("meta"),
        lambda x: x[:, :1],
        lambda x: x.tolist(),
        lambda x: None,
    ],
    ids=["float8", "complex", "sparse", "meta", "short", "list", "none"],
)
def test_logits_that_are_none_are_refused(change: Callable[[Tensor], Any]) -> None:
    backend = mdm.wrap(lambda tokens: change(flat(tokens)), MASK, VOCAB)
    with pytest.raises(mdm.PredictionError, match="the model must return logits"):
        mdm.Sampler(backend, steps=4).fill([ROW])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64], ids=str)
def test_logits_of_other_precisions_are_taken(dtype: torch.dtype) -> None:
    backend = mdm.wrap(lambda tokens: nn.functional.one_hot(tokens % 3, VOCAB).to(dtype), MASK, VOCAB)
    assert MASK not in mdm.Sampler(backend, steps=4).fill([ROW]).sequences[0]


def test_a_transformer_backend_says_what_it_does_not_take() -> None:
    """BERT attends in both directions; what it lacks is a head of one layer."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    for changes in ({}, {"is_causal": False}):
        bert = BertForMaskedLM(BertConfig(vocab_size=VOCAB, **sizes, **changes))
        with pytest.raises(mdm.ModelError, match=r"head is one layer.*BertForMaskedLM is none"):
            mdm.TransformerBackend(bert, MASK)
    with pytest.raises(mdm.ModelError, match="does not say is_causal = False"):
        mdm.TransformerBackend(LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=VOCAB, pad_token_id=None)), MASK)
    for other in (None, "x", Net(), flat):
        with pytest.raises(mdm.ModelError, match="takes a causal-LM class of transformers, got"):
            mdm.TransformerBackend(other, MASK)


@pytest.mark.parametrize(
    ("name", "value"), [("mask_id", "3"), ("eos_ids", 0), ("look_back", 2), ("attention_block", 0)]
)
def test_a_transformer_backend_checks_its_settings(name: str, value: Any) -> None:
    with pytest.raises(mdm.ModelError):
        mdm.TransformerBackend(llama(), **{"mask_id": MASK, "eos_ids": (EOS,), name: value})


# --- Ids without a token ------------------------------------------------------------------------------------------


class Tokenizer:
    """Has a token for each of some ids."""

    eos_token_id = pad_token_id = None

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def get_vocab(self) -> dict[str, int]:
        return {f"<{token}>": token for token in self.ids}

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(f"<{token}>" for token in ids)


@pytest.mark.parametrize("planner", ["confidence", "info-gain", "random"])
@pytest.mark.parametrize("sampled", [False, True])
def test_ids_without_a_token_are_never_predicted(planner: str, sampled: bool) -> None:
    """The model finds them the likeliest. An end token counts as a token, whether or not the tokenizer has it."""
    table = torch.zeros(VOCAB)
    table[[2, 7, 9, 10, 11]] = 9.0
    backend = mdm.wrap(
        lambda tokens: table.expand(*tokens.shape, VOCAB).clone(),
        MASK,
        VOCAB,
        eos_ids=(EOS,),
        tokenizer=Tokenizer(1, 3, 4, 5, 6, 8, 12, 99),
    )
    assert backend.unused_ids == (range(2, 3), range(7, 8), range(9, 12))
    draws = mdm.GumbelMax(1.0) if sampled else mdm.Greedy()
    part = mdm.build("planners", planner)
    result = mdm.Sampler(backend, part, token_sampler=draws, steps=8).fill([([1], [MASK] * 30)], seed=3)
    assert set(result.sequences[0]) <= {EOS, 1, 3, 4, 5, 6, 8}
    with pytest.raises(mdm.CanvasError, match="no token of the model"):
        log_likelihoods(backend, [([1], [9])])


def test_without_a_tokenizer_every_id_but_the_mask_may_be_predicted() -> None:
    table = torch.zeros(VOCAB)
    table[11] = 9.0
    backend = mdm.wrap(lambda tokens: table.expand(*tokens.shape, VOCAB).clone(), MASK, VOCAB)
    assert set(mdm.Sampler(backend, steps=4).fill([([1], [MASK] * 5)]).sequences[0][1:]) == {11}
