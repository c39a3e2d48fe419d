"""Traces and the films that are rebuilt from them: what a trace says is what happened."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import EOS, MASK, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.history import RowHistory
from mdm_sampling.traces import Film, FilmKeeper
from mdm_sampling.traces.keeper import TOP
from mdm_sampling.traces.lines import to_line

ROWS = [([3, 4, 5], [MASK] * 9), ([6], [MASK, 2, MASK, MASK, 1]), ([1, 2], [MASK] * 6)]


def traced(
    sampler: mdm.Sampler, rows: Any = ROWS, seed: int = 0
) -> tuple[mdm.Result, list[Film], list[tuple[mdm.StepRecord, torch.Tensor]]]:
    """A run, its films, which are checked against those read from its trace, and its records with the canvas before."""
    seen: list[tuple[mdm.StepRecord, torch.Tensor]] = []

    class Keep:
        def begin(self, canvas: mdm.Canvas, seeds: list[int]) -> None:
            self.before = canvas.tokens

        def add(self, record: mdm.StepRecord) -> None:
            seen.append((record, self.before))
            self.before = record.canvas.tokens

    keeper = FilmKeeper(sampler.backend, sampler.spec())
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "t.jsonl").open("w") as file:
            observers = [mdm.Trace(file, sampler.backend, sampler.spec()), Keep(), keeper]
            result = sampler.fill(rows, seed, batch_size=len(rows), observers=observers)
        check_read(mdm.read_trace(file.name), keeper.films)
    return result, keeper.films, seen


def check_read(read: list[Film], kept: list[Film]) -> None:
    """What was read is what was kept, rounded as it is written."""
    assert len(read) == len(kept)
    for one, other in zip(read, kept, strict=True):
        first, second = (dict(vars(film), frames=len(film.frames)) for film in (one, other))
        assert first == second
        for frame, wanted in zip(one.frames, other.frames, strict=True):
            assert (frame.block, frame.masked) == (wanted.block, wanted.masked)
            assert json.dumps(to_line(frame, one.names)) == json.dumps(to_line(wanted, one.names))


def check_history(film: Film, kept: RowHistory) -> None:
    """What a result keeps without a film is the film's."""
    found = film.history
    assert found.order == kept.order
    assert found.entropy == pytest.approx(kept.entropy)
    assert found.step_entropy == pytest.approx(kept.step_entropy, abs=1e-5)
    assert [(moves.step, moves.chosen) for moves in found.weighed] == [(m.step, m.chosen) for m in kept.weighed]
    for moves, wanted in zip(found.weighed, kept.weighed, strict=True):
        for name in ("cost", "next_entropy", "score"):
            assert getattr(moves, name) == pytest.approx(getattr(wanted, name), nan_ok=True)


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
        assert len(film.frames) == row.steps
        check_history(film, history)
        assert film.cumulative_entropy[-1] == pytest.approx(row.cumulative_entropy, abs=1e-4)
        assert sum(frame.forwards for frame in film.frames) == row.forwards
        assert sum(frame.token_forwards for frame in film.frames) == row.token_forwards
        assert sum(frame.sequential_forwards for frame in film.frames) == row.sequential_forwards
        assert film.after(len(film.frames))[0] == film.canvas
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
    for film, history in zip(films, result.histories, strict=True):
        check_history(film, history)
        for frame in film.frames:
            for chosen in (move for move in frame.candidates if move.chosen):
                assert (chosen.positions, chosen.tokens) == (frame.positions, frame.tokens)
                assert chosen.score == max(move.score for move in frame.candidates)
    assert sum(len(history.weighed) for history in result.histories) > 3


def test_every_token_of_a_film_has_a_name(base: mdm.Sampler, tmp_path: Path) -> None:
    sampler = replace(base, max_new_tokens=20, steps=10, planner=mdm.InfoGain())
    with (tmp_path / "trace.jsonl").open("w") as file:
        sampler.generate("1... ..3. .1.. ...4", observers=[mdm.Trace(file, sampler.backend, sampler.spec())])
    (film,) = mdm.read_trace(tmp_path / "trace.jsonl")
    codec = sampler.backend.codec
    assert codec is not None
    for token in (*film.prefix, *film.body, *film.canvas, *(t for frame in film.frames for t in frame.all_tokens())):
        assert film.names[token] == codec.token_text(token)
    assert film.spec == sampler.spec()


def test_a_model_without_a_tokenizer_has_its_ids_shown() -> None:
    _, films, _ = traced(mdm.Sampler(toy_callable(), block_size=4, steps=7))
    assert films[0].name(5) == "[5]"


def test_reopened_positions_are_masked_again(tmp_path: Path) -> None:
    planner = Reopening()
    result, films, _ = traced(mdm.Sampler(toy_callable(), block_size=9, steps=9, planner=planner))
    assert any(frame.reopened for film in films for frame in film.frames)
    for film, sequence, history in zip(films, result.sequences, result.histories, strict=True):
        assert film.prefix + film.canvas == sequence
        check_history(film, history)


def test_positions_that_a_step_reopens_and_the_end_fills_are_in_the_film() -> None:
    planner, tokens = ReopeningAnywhere(), mdm.GumbelMax(2.0)
    sampler = mdm.Sampler(toy_callable(), planner, token_sampler=tokens, block_size=9, steps=12, eos="finish")
    both = 0
    for seed in range(6):
        result, films, _ = traced(sampler, seed=seed)
        for film, sequence, history in zip(films, result.sequences, result.histories, strict=True):
            assert film.prefix + film.canvas == sequence
            check_history(film, history)
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
        first = step.reopenable & (step.reopenable.cumsum(1) == 1) & (step.taken % 3 == 2).unsqueeze(-1)
        return mdm.Plan(unmask=unmask, remask=first)


def test_films_are_read_and_pages_written_without_torch_or_matplotlib(tmp_path: Path) -> None:
    """In a process of its own, for here both are loaded."""
    sampler = mdm.Sampler(toy_callable(), block_size=4, steps=7)
    with (tmp_path / "trace.jsonl").open("w") as file:
        sampler.fill(ROWS, observers=[mdm.Trace(file, sampler.backend, sampler.spec())])
    lines = (
        "import sys",
        "from mdm_sampling.traces import read_trace",
        "from mdm_sampling.views import write_page",
        f"write_page({{'trace': read_trace({file.name!r})}}, {str(tmp_path / 'page.html')!r})",
        "assert not {'torch', 'matplotlib', 'transformers', 'rich'} & {*sys.modules}",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
    assert (tmp_path / "page.html").stat().st_size > 10_000
