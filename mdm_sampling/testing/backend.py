"""What a model backend must hold."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ..backends.base import ModelBackend
from ..backends.evaluation_mode import EvaluationMode
from ..caches import DualCache, NoCache, PrefixCache
from ..canvas import Canvas, Span
from ..errors import CanvasError
from ..planners.info_gain import InfoGain
from ..sampler import Sampler
from .cases import Rows
from .rules import Rule, blamed, expect, for_all, run_rules

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""How far equal logits may differ, relative to their largest, by the dtype of the hidden states."""


def check_backend(backend: ModelBackend, examples: int = 10) -> None:
    """Raise `ConformanceError` unless a model backend keeps its contract.

    Args:
        backend: a loaded model; a few forwards of short rows are run on it for each example.
    """
    run_rules(RULES, ModelBackend, backend, examples)


def check_ids(backend: ModelBackend, examples: int) -> None:
    """The special ids are tokens of the vocabulary and differ where they must."""
    vocabulary = range(backend.vocab_size)
    ids = {"mask_id": backend.mask_id, "pad_id": backend.pad_id}
    ids |= {f"eos_ids[{i}]": token for i, token in enumerate(backend.eos_ids)}
    for name, token in ids.items():
        expect(token in vocabulary, backend, f"{name} in [0, {backend.vocab_size})", str(token))
    for name, token in list(ids.items())[1:]:
        expect(token != backend.mask_id, backend, f"{name} that is not the mask", f"{token}")


@st.composite
def _rows(draw: st.DrawFn, backend: ModelBackend) -> Rows:
    token = st.integers(0, backend.vocab_size - 1).filter(lambda token: token != backend.mask_id)
    row = st.tuples(st.lists(token, min_size=1, max_size=5), st.lists(token, max_size=3))
    rows = draw(st.lists(row, min_size=1, max_size=3))
    return [(prefix, [*body, *[backend.mask_id] * draw(st.integers(1, 5))]) for prefix, body in rows]


def _canvas(backend: ModelBackend, rows: Rows) -> Canvas:
    return Canvas.from_rows(rows, mask_id=backend.mask_id, pad_id=backend.pad_id, device=backend.device)


def _logits(backend: ModelBackend, canvas: Canvas, span: Span, slots: Any, rows: Tensor | None = None) -> Tensor:
    with torch.no_grad(), EvaluationMode(backend):
        hidden = backend.trunk(canvas, span, slots, rows)
        logits = backend.head(hidden.flatten(0, 1))
        return logits.reshape(*hidden.shape[:2], -1).to(torch.promote_types(logits.dtype, torch.float32))


def _close(backend: ModelBackend, found: Tensor, wanted: Tensor, expected: str, case: object) -> None:
    scale = max(1.0, float(wanted[wanted.isfinite()].abs().max()))
    finite = wanted.isfinite()
    gap = float((found - wanted)[finite].abs().max()) / scale if bool(finite.any()) else 0.0
    same = gap <= _TOLERANCE.get(backend.dtype or found.dtype, 1e-3) and bool((found.isfinite() == finite).all())
    expect(same, backend, expected, f"logits that differ by {gap:.2g} of their size", case)


def _check_shapes(backend: ModelBackend, examples: int) -> None:
    """Hidden states of exactly the span, and logits of the whole vocabulary."""

    def check(rows: Rows) -> None:
        canvas = _canvas(backend, rows)
        whole = Span(0, canvas.length)
        with blamed(backend, "hidden states [b l d] and logits [r v]", rows), torch.no_grad(), EvaluationMode(backend):
            slots = backend.allocate()
            for span in (whole, Span(canvas.start, canvas.length)):
                hidden = backend.trunk(canvas, span, slots)
                expected = f"{[canvas.batch, len(span)]} hidden states"
                expect(hidden.shape[:2] == (canvas.batch, len(span)), backend, expected, f"{list(hidden.shape)}", rows)
            logits = backend.head(hidden[:, 0])
            expected, got = f"logits [{canvas.batch} {backend.vocab_size}]", f"{list(logits.shape)}"
            expect(logits.shape == (canvas.batch, backend.vocab_size), backend, expected, got, rows)

    for_all(_rows(backend), examples, check)


def _check_padding(backend: ModelBackend, examples: int) -> None:
    """A row predicts in a batch, padded, what it predicts alone."""

    def check(rows: Rows) -> None:
        canvas = _canvas(backend, rows)
        with blamed(backend, "a forward of rows of different lengths", rows):
            together = _logits(backend, canvas, Span(0, canvas.length), None)
            for i, row in enumerate(rows):
                single = _canvas(backend, [row])
                alone = _logits(backend, single, Span(0, single.length), None)[0]
                _close(backend, together[i][canvas.valid[i]], alone, f"row {i} as it is alone", rows)

    for_all(_rows(backend), examples, check)


def _check_spans(backend: ModelBackend, examples: int) -> None:
    """Recomputing a part of an unchanged canvas gives what the whole gave."""

    def check(rows: Rows) -> None:
        canvas = _canvas(backend, rows)
        with blamed(backend, "a forward over a part of the canvas", rows):
            slots = backend.allocate()
            whole = _logits(backend, canvas, Span(0, canvas.length), slots)
            span = Span(canvas.start, canvas.length - (canvas.length - canvas.start) // 2)
            part = _logits(backend, canvas, span, slots)
            valid = canvas.valid[:, span.positions]
            _close(
                backend, part[valid], whole[:, span.positions][valid], f"the whole forward's logits over {span}", rows
            )

    for_all(_rows(backend), examples, check)


def _check_forks(backend: ModelBackend, examples: int) -> None:
    """A fork gives what a forward of its canvas gives, and leaves no trace in the slots."""

    def check(rows: Rows) -> None:
        canvas = _canvas(backend, rows)
        span, one_position = Span(canvas.start, canvas.length), Span(canvas.start, canvas.start + 1)
        owners = torch.arange(canvas.batch).repeat(2).to(backend.device)
        futures = canvas.select(owners)
        first = futures.masked[:, span.positions].int().cumsum(1) == 1
        other = next(token for token in range(backend.vocab_size) if token != backend.mask_id)
        filled = futures.commit(
            span, first & futures.masked[:, span.positions], torch.full_like(first, other, dtype=torch.long)
        )
        with blamed(backend, "a fork of two candidates a row", rows):
            slots = backend.allocate()
            _logits(backend, canvas, Span(0, canvas.length), slots)
            before = _logits(backend, futures, one_position, slots, owners)  # reads all slots but one
            found = _logits(backend, filled, span, slots, owners)
            after = _logits(backend, futures, one_position, slots, owners)
            _close(backend, after, before, "a fork that writes no slot", rows)
            valid = futures.valid[:, span.positions]
            for i, row in enumerate(owners.tolist()):
                written, number = backend.allocate(), torch.tensor([row], device=backend.device)
                _logits(backend, canvas.select(number), Span(0, canvas.length), written)
                one = torch.tensor([i], device=backend.device)
                wanted = _logits(backend, filled.select(one), span, written)[0]
                _close(backend, found[i][valid[i]], wanted[valid[i]], f"candidate {i} as a forward of its canvas", rows)

    for_all(_rows(backend), examples, check)


def _check_runs(backend: ModelBackend, examples: int) -> None:
    """A run comes to its end under every cache, and a second one gives the same."""

    def check(rows: Rows) -> None:
        for cache in (NoCache(), PrefixCache(), DualCache()):
            sampler = Sampler(backend, planner=InfoGain(candidates=3), cache=cache, block_size=3, steps=4)
            with blamed(backend, f"a run under {cache}", rows):
                first, second = (sampler.fill(rows).sequences for _ in range(2))
            expect(first == second, backend, "the same tokens again", f"{first}, then {second}", rows)

    for_all(_rows(backend), max(1, examples // 3), check)


def _check_texts(backend: ModelBackend, examples: int) -> None:
    """The tokenizer decodes what it encodes of ordinary tokens, and its ids are the model's."""
    codec = backend.codec
    if codec is None:
        return
    special = {backend.mask_id, *backend.eos_ids}
    with blamed(backend, "a tokenizer that knows the text of its tokens"):
        texts = [codec.token_text(token) for token in range(min(backend.vocab_size, 300)) if token not in special]
    known = 0
    for text in texts:
        try:
            ids = codec.encode(text, chat=False)
        except CanvasError:
            continue  # half a character, or a token that stands for no text
        inside = all(0 <= token < backend.vocab_size for token in ids)
        expect(inside, backend, f"token ids below {backend.vocab_size}", f"{ids} for {text!r}")
        known += bool(text.strip()) and text.strip() in codec.decode(ids, until_eos=False)
    expect(known > 0, backend, "a tokenizer that decodes what it encodes", "not one token of which that is true")


RULES = (
    Rule("has special ids that are tokens, and a mask that is none of the others", check_ids),
    Rule("gives hidden states of the span and logits of the vocabulary", _check_shapes),
    Rule("predicts in a padded batch what it predicts alone", _check_padding),
    Rule("predicts the same from a part of the canvas and its slots", _check_spans),
    Rule("forks without writing, each candidate as a forward of its own", _check_forks),
    Rule("comes to the end of a run under every cache, and to the same again", _check_runs),
    Rule("encodes and decodes text, if it has a tokenizer", _check_texts),
)
