"""Canvases: how rows are laid out, what may be filled, and infilling of any canvas with masks."""

import pytest
import torch
from hypothesis import given
from strategies import rows
from toys import MASK, toy_callable, toy_transformer

import mdm_sampling as mdm

Rows = list[tuple[list[int], list[int]]]


@given(rows=rows)
def test_bodies_begin_at_one_column_and_rows_come_back_whole(rows: Rows) -> None:
    canvas = mdm.Canvas.from_rows(rows, mask_id=MASK, pad_id=0)
    for i, (prefix, body) in enumerate(rows):
        assert canvas.row(i) == [*prefix, *body]
        assert canvas.body(i) == body
        assert canvas.tokens[i, canvas.start : canvas.start + len(body)].tolist() == body
    assert canvas.padded == (not bool(canvas.valid.all()))
    assert not (canvas.masked & ~canvas.valid).any()


def test_commit_and_fork_leave_the_original_alone() -> None:
    canvas = mdm.Canvas.from_rows([([1], [MASK, MASK]), ([2], [MASK, 3])], mask_id=MASK, pad_id=0)
    before = canvas.tokens.clone()
    block = mdm.Span(1, 3)
    after = canvas.commit(block, torch.tensor([[True, False], [True, False]]), torch.tensor([[5, 5], [6, 6]]))
    assert after.tokens.tolist() == [[1, 5, MASK], [2, 6, 3]]
    forks = canvas.fork(torch.tensor([1, 1, 0]), block, torch.tensor([[True, False]] * 3), torch.full((3, 2), 7))
    assert forks.tokens.tolist() == [[2, 7, 3], [2, 7, 3], [1, 7, MASK]]
    assert torch.equal(canvas.tokens, before)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "no row to sample"),
        ([([1, MASK], [MASK])], "row 0: the prompt holds the mask token"),
        ([([1], [MASK]), ([1], [2, 3])], "row 1: there is nothing to fill"),
        ([([1], [])], "row 0: there is nothing to fill"),
        (
            [([1] * 60, [MASK] * 5)],
            "row 0: a prompt of 60 tokens and 5 positions after it exceed the model's context of 64",
        ),
        ([([1], [MASK, 99])], r"row 0: token ids must be in \[0, 13\), got 99"),
        ([([-1], [MASK])], "row 0: token ids must be in"),
    ],
)
def test_bad_rows_are_refused(rows: Rows, fault: str) -> None:
    with pytest.raises(mdm.CanvasError, match=fault):
        mdm.Sampler(toy_transformer()).fill(rows)


def test_a_bad_row_is_refused_before_any_other_is_decoded() -> None:
    backend = toy_callable()
    sampler = mdm.Sampler(backend)
    with pytest.raises(mdm.CanvasError, match="row 3"):
        sampler.fill([([1], [MASK])] * 3 + [([1], [2])], batch_size=1)
    assert backend.model.calls == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("seed", "message"), [([1], "one seed or 2"), ([1, 2, 3], "got 3")])
def test_the_number_of_seeds_must_fit(seed: list[int], message: str) -> None:
    with pytest.raises(mdm.CanvasError, match=message):
        mdm.Sampler(toy_transformer()).fill([([1], [MASK])] * 2, seed)


@pytest.mark.parametrize(
    "bad",
    [{"max_new_tokens": 0}, {"block_size": 0}, {"steps": 0}, {"eos": "maybe"}, {"lookahead_batch": 0}],
    ids=str,
)
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(mdm.SpecError, match=next(iter(bad))):
        mdm.Sampler(toy_transformer(), **bad)  # type: ignore[arg-type]


def test_a_model_without_a_tokenizer_says_what_to_do() -> None:
    with pytest.raises(mdm.CanvasError, match="has no tokenizer; pass token ids to `fill`"):
        mdm.Sampler(toy_transformer()).generate("hello")


def test_a_callable_that_takes_no_mask_refuses_ragged_rows() -> None:
    backend = mdm.wrap(lambda tokens: torch.zeros(*tokens.shape, 5), mask_id=4, vocab_size=5)
    with pytest.raises(mdm.ModelError, match="rows of different lengths"):
        mdm.Sampler(backend).fill([([1], [4]), ([1, 2], [4])])
    assert len(mdm.Sampler(backend).fill([([1], [4]), ([2], [4])]).sequences) == 2


def test_infilling_keeps_the_text_around_the_masks(llada_folder: object) -> None:
    sampler = mdm.load(str(llada_folder))
    result = sampler.infill(["the [MASK] of[MASK:3], ", "[MASK]"], seed=0)
    assert result.texts[0].startswith("the ")
    assert " of" in result.texts[0]
    assert result.texts[0].endswith(", ")
    assert [len(sequence) for sequence in result.sequences] == [13, 1]


def test_a_canvas_of_another_model_is_refused() -> None:
    canvas = mdm.Canvas.from_rows([([1], [5, 5])], mask_id=5, pad_id=0)
    with pytest.raises(mdm.CanvasError, match="mask id is 5, the model's 12"):
        mdm.Sampler(toy_transformer()).iterate(canvas)


@pytest.mark.parametrize("row", [[1, MASK, MASK], ([1],), [[1], 2]], ids=str)
def test_a_row_that_is_no_pair_is_refused(row: object) -> None:
    with pytest.raises(mdm.CanvasError, match=r"row 0: a row is a pair \(prefix ids, body ids\)"):
        mdm.Sampler(toy_transformer()).fill([row])  # type: ignore[list-item]


def test_a_wrapped_module_is_switched_to_evaluation() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(6, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 6))
    sampler = mdm.Sampler(mdm.wrap(model, mask_id=5, vocab_size=6), steps=4)
    runs = [sampler.fill([([1], [5] * 4)]).rows[0].cumulative_entropy for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
