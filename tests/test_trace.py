"""Traces and the films that are rebuilt from them: what a trace says is what happened."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import EOS, MASK, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.traces.replay import Film, Replay
from mdm_sampling.traces.trace import TOP, TraceLines

ROWS = [([3, 4, 5], [MASK] * 9), ([6], [MASK, 2, MASK, MASK, 1]), ([1, 2], [MASK] * 6)]


def traced(
    sampler: mdm.Sampler, rows: Any = ROWS, seed: int = 0
) -> tuple[mdm.Result, list[Film], list[tuple[mdm.StepRecord, torch.Tensor]]]:
    """A run, its films, and its records with the canvas before each."""
    file = io.StringIO()
    seen: list[tuple[mdm.StepRecord, torch.Tensor]] = []

    class Keep:
        def begin(self, canvas: mdm.Canvas, seeds: list[int]) -> None:
            self.before = canvas.tokens

        def add(self, record: mdm.StepRecord) -> None:
            seen.append((record, self.before))
            self.before = record.canvas.tokens

    observers = [mdm.Trace(file, sampler.backend, sampler.spec()), Keep()]
    result = sampler.fill(rows, seed, batch_size=len(rows), observers=observers)
    replay = Replay()
    for line in file.getvalue().splitlines():
        replay.add(json.loads(line))
    return result, replay.films, seen


SAMPLERS = {
    "info-gain": {"planner": mdm.InfoGain(candidates=4, position_temperature=1.0)},
    "bypass, dual": {"planner": mdm.Bypass(0.3, mdm.InfoGain(candidates=3)), "cache": mdm.DualCache()},
    "drawn tokens": {"planner": mdm.Random(), "token_sampler": mdm.GumbelMax(1.0)},
    "ends early": {"planner": mdm.Confidence(), "eos": "finish", "token_sampler": mdm.GumbelMax(2.0)},
}


@pytest.mark.parametrize("parts", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("model", [toy_transformer, toy_callable])
@pytest.mark.parametrize("seed", range(3))
def test_a_film_ends_as_the_run_did(parts: dict[str, Any], model: Any, seed: int) -> None:
    sampler = mdm.Sampler(model(), block_size=4, steps=7, **parts)
    result, films, _ = traced(sampler, seed=seed)
    for film, sequence, row, history in zip(films, result.sequences, result.rows, result.histories, strict=True):
        assert film.prefix + film.canvas == sequence
        assert len(film.frames) == row.steps == len(history.step_entropy)
        assert film.cumulative_entropy[-1] == pytest.approx(row.cumulative_entropy, abs=1e-4)
        assert sum(frame.forwards for frame in film.frames) == row.forwards
        assert sum(frame.token_forwards for frame in film.frames) == row.token_forwards
        tokens, filled_at = film.after(len(film.frames))
        assert tokens == film.canvas
        ended = {position for frame in film.frames for position in frame.ended}
        assert [-1 if position in ended else step for position, step in enumerate(filled_at)] == history.order
        assert film.after(0) == (film.body, [-1] * len(film.body))


def test_rows_that_end_early_are_traced_to_their_end() -> None:
    found = [
        traced(mdm.Sampler(toy_callable(), block_size=4, steps=7, **SAMPLERS["ends early"]), seed=s) for s in range(6)
    ]
    assert any(frame.ended for _, films, _ in found for film in films for frame in film.frames)
    for _, films, _ in found:
        assert all(film.canvas[position] == EOS for film in films for frame in film.frames for position in frame.ended)


def test_a_frame_says_what_the_model_said_of_every_masked_position() -> None:
    """Against a forward of our own over the canvas before the step."""
    backend = toy_callable()
    _, films, records = traced(mdm.Sampler(backend, block_size=4, steps=7, planner=mdm.InfoGain(candidates=3)))
    steps_of = dict.fromkeys(range(len(films)), 0)
    for record, before in records:
        for i, row in enumerate(record.rows.tolist()):
            film, frame = films[row], films[row].frames[steps_of[row]]
            steps_of[row] += 1
            canvas = replace(record.canvas, tokens=before)
            probabilities = wanted(backend, canvas, row)
            for position, entropy, token, confidence in zip(
                frame.masked, frame.masked_entropy, frame.likeliest, frame.likeliest_confidence, strict=True
            ):
                p = probabilities[canvas.start + position]
                assert entropy == pytest.approx(float(-(p * p.clamp(min=1e-12).log()).sum()), abs=1e-3)
                assert confidence == pytest.approx(float(p.max()), abs=1e-3)
                assert p[token] == pytest.approx(float(p.max()), abs=1e-6)
            for position, top in zip(frame.positions, frame.top, strict=True):
                p = probabilities[canvas.start + position]
                assert [probability for _, probability in top] == pytest.approx(p.topk(TOP).values.tolist(), abs=1e-3)
                assert all(p[token] == pytest.approx(probability, abs=1e-3) for token, probability in top)
            assert set(frame.positions) <= set(frame.masked)
            assert film.frames[0].block[0] == 0
            assert record.unmask[i].sum() == len(frame.positions)


def wanted(backend: mdm.ModelBackend, canvas: mdm.Canvas, row: int) -> torch.Tensor:
    hidden = backend.trunk(canvas, mdm.Span(0, canvas.length), None)[row]
    logits = backend.head(hidden).double()
    logits[:, backend.mask_id] = -torch.inf
    return logits.softmax(-1)


def test_the_chosen_move_is_the_one_that_was_made() -> None:
    sampler = mdm.Sampler(
        toy_callable(), block_size=9, steps=5, planner=mdm.InfoGain(candidates=6, position_temperature=1.0)
    )
    result, films, _ = traced(sampler)
    weighed = 0
    for film, history in zip(films, result.histories, strict=True):
        moves = {moves.step: moves for moves in history.weighed}
        for step, frame in enumerate(film.frames):
            assert bool(frame.candidates) == (step in moves)
            if frame.candidates:
                weighed += 1
                (chosen,) = [move for move in frame.candidates if move["chosen"]]
                assert (chosen["positions"], chosen["tokens"]) == (frame.positions, frame.tokens)
                assert moves[step].score[moves[step].chosen] == pytest.approx(max(moves[step].score))
                assert moves[step].cost == pytest.approx([move["cost"] for move in frame.candidates], abs=1e-6)
    assert weighed > 3


def test_every_token_of_a_film_has_a_name(base: mdm.Sampler, tmp_path: Path) -> None:
    sampler = replace(base, max_new_tokens=20, steps=10, planner=mdm.InfoGain())
    with (tmp_path / "trace.jsonl").open("w") as file:
        sampler.generate("1... ..3. .1.. ...4", observers=[mdm.Trace(file, sampler.backend, sampler.spec())])
    (film,) = mdm.read_trace(tmp_path / "trace.jsonl")
    codec = sampler.backend.codec
    assert codec is not None
    for token in (*film.prefix, *film.body, *film.canvas, *(t for frame in film.frames for t in all_tokens(frame))):
        assert film.names[token] == codec.token_text(token)
    assert film.spec == sampler.spec()


def all_tokens(frame: Any) -> Sequence[int]:
    moves = [token for move in frame.candidates for token in move["tokens"]]
    return [*frame.tokens, *frame.likeliest, *moves, *(token for position in frame.top for token, _ in position)]


def test_a_model_without_a_tokenizer_has_its_ids_shown() -> None:
    _, films, _ = traced(mdm.Sampler(toy_callable(), block_size=4, steps=7))
    assert films[0].name(5) == "[5]"


def test_reopened_positions_are_masked_again(tmp_path: Path) -> None:
    planner = Reopening()
    result, films, _ = traced(mdm.Sampler(toy_callable(), block_size=9, steps=9, planner=planner))
    assert any(frame.reopened for film in films for frame in film.frames)
    for film, sequence, history in zip(films, result.sequences, result.histories, strict=True):
        assert film.prefix + film.canvas == sequence
        assert film.after(len(film.frames))[1] == history.order


def test_positions_that_a_step_reopens_and_the_end_fills_are_in_the_film() -> None:
    planner, tokens = ReopeningAnywhere(), mdm.GumbelMax(2.0)
    sampler = mdm.Sampler(toy_callable(), planner, token_sampler=tokens, block_size=9, steps=12, eos="finish")
    both = 0
    for seed in range(6):
        result, films, _ = traced(sampler, seed=seed)
        for film, sequence, history in zip(films, result.sequences, result.histories, strict=True):
            assert film.prefix + film.canvas == sequence
            ended = {position for frame in film.frames for position in frame.ended}
            order = film.after(len(film.frames))[1]
            assert [-1 if position in ended else step for position, step in enumerate(order)] == history.order
            both += sum(bool(set(frame.ended) & set(frame.reopened)) for frame in film.frames)
    assert both


class ReopeningAnywhere(mdm.PositionPlanner):
    """Fills any position and reopens each that it filled before with a chance of one half."""

    needs = mdm.Needs(remasking=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        unmask = mdm.top_positions(step.noise.uniform(1)[0], step.masked, step.quota)
        again = step.noise.uniform(1)[0] < 0.5
        return mdm.Plan(unmask=unmask, remask=step.reopenable & again)


class Reopening(mdm.PositionPlanner):
    """Fills the first positions and, now and then, reopens one that was filled before."""

    needs = mdm.Needs(remasking=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        unmask = mdm.top_positions(
            -torch.arange(step.masked.shape[1]).expand_as(step.masked).double(), step.masked, step.quota
        )
        first = step.reopenable & (step.reopenable.cumsum(1) == 1) & (step.taken % 3 == 2)
        return mdm.Plan(unmask=unmask, remask=first)


def test_lines_are_the_same_for_a_file_and_for_a_view() -> None:
    sampler = mdm.Sampler(toy_callable(), block_size=4, steps=7)
    canvas = sampler.canvas(ROWS)
    lines = TraceLines(sampler.backend, sampler.spec())
    made = [
        lines.opening(canvas, [0, 0, 0]),
        *(line for record in sampler.iterate(canvas) for line in lines.steps([record])),
    ]
    file = io.StringIO()
    sampler.fill(ROWS, observers=[mdm.Trace(file, sampler.backend, sampler.spec())])
    assert [json.loads(line) for line in file.getvalue().splitlines()] == json.loads(json.dumps(made))
