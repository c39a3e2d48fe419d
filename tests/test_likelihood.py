"""Log-likelihoods and greedy checks, against enumeration and against independent forwards."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from naive import NaiveDream, NaiveLLaDA
from torch import Tensor
from toys import MASK, ToyModel, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.evaluation import GreedyCheck, greedy_checks, log_likelihoods
from mdm_sampling.evaluation.likelihood import draw_masks
from mdm_sampling.randomness import RowNoise
from mdm_sampling.testing.models import MODELS, MOVE, START


def expectation(predict: Any, mask_id: int, prefix: Sequence[int], continuation: Sequence[int]) -> float:
    """The paper's expectation, over every mask by its probability, from `predict`: tokens [t] -> logits [t v]."""
    length, total = len(continuation), 0.0
    for mask in product((False, True), repeat=length):
        count = sum(mask)
        if not count:
            continue
        body = [mask_id if hidden else token for hidden, token in zip(mask, continuation, strict=True)]
        logits = predict(torch.tensor([*prefix, *body])).double()
        logits[:, mask_id] = -torch.inf
        found = logits.log_softmax(-1)[len(prefix) :]
        summed = sum(float(found[i, token]) for i, token in enumerate(continuation) if mask[i])
        total += summed * length / count / (length * math.comb(length, count))
    return total


def backend_predict(backend: mdm.ModelBackend) -> Any:
    """The model alone, a row at a time."""

    def predict(tokens: Tensor) -> Tensor:
        canvas = mdm.Canvas.from_rows([([], tokens.tolist())], mask_id=backend.mask_id, pad_id=backend.pad_id)
        with torch.no_grad():
            return backend.head(backend.trunk(canvas, mdm.Span(0, canvas.length), None))[0]

    return predict


@pytest.mark.parametrize("prefix", [[], [1], [0, 2, 2]], ids=str)
@pytest.mark.parametrize("continuation", [[0], [2, 1], [1, 1, 0, 2], [0, 2, 1, 1, 0, 0, 2]], ids=str)
def test_of_a_known_distribution_the_likelihood_is_exact(prefix: list[int], continuation: list[int]) -> None:
    """Exact conditionals make the expectation the log-probability itself, in whatever order tokens are revealed."""

    def log_probability(tokens: list[int]) -> float:
        if not tokens:
            return 0.0
        moves = [MOVE[a, b].log() for a, b in pairwise(tokens)]
        return float(START[tokens[0]].log() + sum(moves))

    (found,) = log_likelihoods(MODELS["markov"](), [(prefix, continuation)])
    true = log_probability(prefix + continuation) - log_probability(prefix)
    assert found.log_likelihood == pytest.approx(true, abs=1e-9)
    assert found.error == 0.0
    assert found.forwards == 2 ** len(continuation) - 1


@pytest.mark.parametrize("name", ["attending-shifted", "markov"])
def test_the_mean_over_many_samples_is_the_expectation(name: str) -> None:
    """Six tokens have 63 masks; ten are drawn, with a hundred seeds. The error that is reported is the right one."""
    backend, pair = MODELS[name](), ([1, 0], [2, 0, 1, 1, 2, 0])
    runs = [log_likelihoods(backend, [pair], samples=10, seed=seed, batch_size=32)[0] for seed in range(100)]
    values = [run.log_likelihood for run in runs]
    expected = expectation(backend_predict(backend), backend.mask_id, *pair)
    assert abs(fmean(values) - expected) < 4 * stdev(values) / math.sqrt(len(values))
    assert fmean(run.error for run in runs) == pytest.approx(stdev(values), rel=0.25)
    assert all(run.forwards <= 10 for run in runs)


def test_masks_are_drawn_as_the_paper_has_it() -> None:
    """A number of masked positions that is uniform on 1 to 4, and then the positions: 14 of 15 masks, 500 times
    over.
    """
    frequency: Counter[tuple[bool, ...]] = Counter()
    for seed in range(500):
        masks, weights = draw_masks(4, 14, RowNoise.from_seeds([seed], torch.device("cpu")))
        assert float(weights.sum()) == pytest.approx(1.0)
        for mask, weight in zip(masks.tolist(), weights.tolist(), strict=True):
            frequency[tuple(mask)] += weight / 500
    assert len(frequency) == 15
    for mask, found in frequency.items():
        expected = 1 / (4 * math.comb(4, sum(mask)))
        assert abs(found - expected) < 4.5 * math.sqrt(expected * (1 - expected) / 7000)


@pytest.mark.parametrize("family", ["llada", "dream", "callable"])
def test_each_family_gives_the_expectation_of_an_independent_forward(
    family: str, llada_folder: Path, dream_folder: Path
) -> None:
    pairs = [([5, 6, 7], [8, 9, 3, 4]), ([4], [9, 8]), ([], [7, 7, 5])]
    naive: Any = {"llada": NaiveLLaDA(seed=0), "dream": NaiveDream(seed=0), "callable": None}[family]
    if naive is None:
        backend, model = toy_callable(), ToyModel()
        predict = lambda tokens: model(tokens[None])[0]  # noqa: E731
    else:
        backend = mdm.load_backend(str(llada_folder if family == "llada" else dream_folder))
        predict = naive.predict
    for found, pair in zip(log_likelihoods(backend, pairs, batch_size=5), pairs, strict=True):
        assert found.log_likelihood == pytest.approx(expectation(predict, backend.mask_id, *pair), abs=2e-4)


@pytest.mark.parametrize("samples", [4, 128])
def test_a_pair_does_not_depend_on_its_neighbours_their_order_or_the_batch(samples: int) -> None:
    backend = toy_transformer(look_back=1)
    generator = torch.Generator().manual_seed(0)
    pairs = [
        (torch.randint(0, 12, (i % 4,), generator=generator).tolist(), torch.randint(0, 12, (3 + i,)).tolist())
        for i in range(7)
    ]
    alone = [log_likelihoods(backend, [pair], samples=samples, seed=3)[0].log_likelihood for pair in pairs]
    for order in (range(7), reversed(range(7))):
        numbers = list(order)
        for size in (1, 5, 64):
            shuffled = [pairs[i] for i in numbers]
            together = log_likelihoods(backend, shuffled, samples=samples, seed=3, batch_size=size)
            assert [e.log_likelihood for e in together] == pytest.approx([alone[i] for i in numbers], abs=1e-9)
    checks = [check.matches for check in greedy_checks(backend, pairs, batch_size=64)]
    assert checks == [greedy_checks(backend, [pair], batch_size=1)[0].matches for pair in pairs]


def test_masks_depend_on_the_seed() -> None:
    pair = ([1], [2, 3, 4, 5, 6, 7])
    values = {log_likelihoods(toy_callable(), [pair], samples=3, seed=seed)[0].log_likelihood for seed in range(5)}
    assert len(values) == 5
    again = log_likelihoods(toy_callable(), [pair], samples=3, seed=0)[0]
    assert again.log_likelihood in values


def test_each_row_is_computed_once_and_only_masked_positions_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four choices of one token ask about the same canvas; three tokens have seven masks, of twelve masked
    positions.
    """
    model = ToyModel()
    backend = mdm.wrap(model, mask_id=MASK, vocab_size=13, takes_attention_mask=True)
    projected: list[int] = []
    head = backend.head
    monkeypatch.setattr(backend, "head", lambda hidden: (projected.append(len(hidden)), head(hidden))[1])
    choices = log_likelihoods(backend, [([1, 2], [token]) for token in (3, 4, 5, 6)], batch_size=1)
    assert [len(call) for call in model.calls] == [1]
    assert sum(choice.forwards for choice in choices) == 1
    assert projected == [4]
    (longer,) = log_likelihoods(backend, [([1, 2], [3, 4, 5])])
    assert sum(len(call) for call in model.calls) == 1 + 7
    assert longer.forwards == 7
    assert sum(projected) == 4 + 12


def test_impossible_certain_and_empty_continuations() -> None:
    backend = MODELS["certain"]()
    found = log_likelihoods(backend, [([0, 1], [2, 0]), ([0, 1], [2, 1]), ([0, 1], [])], samples=2)
    assert [estimate.log_likelihood for estimate in found] == [0.0, -math.inf, 0.0]
    assert [check.matches for check in greedy_checks(backend, [([0], [1, 2]), ([0], [1, 1]), ([0], [])])] == [
        True, False, True,
    ]  # fmt: skip
    assert log_likelihoods(backend, []) == []
    assert math.isnan(log_likelihoods(toy_callable(), [([1], [2, 3])], samples=1)[0].error)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (([1], [MASK]), "row 0: the continuation holds 12"),
        (([1], [99]), "row 0: the continuation holds 99"),
        (([MASK], [1]), "row 0: the prompt holds the mask token"),
        (([1] * 60, [1] * 5), "row 0: a prompt of 60 tokens and 5 positions"),
    ],
)
def test_pairs_that_the_model_cannot_take_are_refused(pair: Any, words: str) -> None:
    for function in (log_likelihoods, greedy_checks):
        with pytest.raises(mdm.CanvasError, match=words):
            function(toy_transformer(), [pair])
    with pytest.raises(mdm.SpecError, match="samples must be at least 1"):
        log_likelihoods(toy_transformer(), [], samples=0)


def test_logits_that_are_no_numbers_are_an_error() -> None:
    broken = mdm.wrap(lambda tokens: torch.full((*tokens.shape, 5), torch.nan), mask_id=4, vocab_size=5)
    with pytest.raises(mdm.PredictionError, match="not finite"):
        log_likelihoods(broken, [([1], [2])])


def test_the_greedy_check_is_decoding_by_confidence() -> None:
    """A plain loop finds the greedy continuation; it matches, and with another token anywhere it does not."""
    backend = toy_transformer()
    predict, prefix, body = backend_predict(backend), [3, 1, 4], [MASK] * 6
    while MASK in body:
        logits = predict(torch.tensor(prefix + body))[len(prefix) :].clone()
        logits[:, MASK] = -torch.inf
        sure, tokens = logits.softmax(-1).max(-1)
        position = max((i for i in range(6) if body[i] == MASK), key=lambda i: float(sure[i]))
        body[position] = int(tokens[position])
    others = [[(t + 1) % 12 if i == j else t for j, t in enumerate(body)] for i in range(6)]
    (right, *wrong) = greedy_checks(backend, [(prefix, body), *((prefix, other) for other in others)], batch_size=3)
    assert right == GreedyCheck(True, 6)
    assert not any(check.matches for check in wrong)
    assert sorted(check.forwards for check in wrong) == [1, 2, 3, 4, 5, 6]
