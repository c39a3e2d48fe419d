"""Films made without a model."""

import random
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from mdm_sampling.traces import Film, Frame, Move

MASK, END = 0, 1


def made_film(
    text: Sequence[str],
    *,
    block: int,
    per_step: int = 1,
    candidates: int = 0,
    prompt: str = "prompt",
    given: Sequence[int] = (),
    others: int = 0,
    reopened: Mapping[int, int] | None = None,
    ends: int | None = None,
    seed: int = 0,
) -> Film:
    """A film that ends in this text, a token for each of its entries, in blocks.

    Args:
        text: the tokens' texts; "<end>" is the end token.
        block: positions of a block.
        per_step: positions that a step fills.
        candidates: moves that each step weighs.
        prompt: its only token's text.
        given: positions that are not masked at the start.
        others: further tokens that may be the likeliest.
        reopened: for each of these steps a position that it masks again.
        ends: the step that ends the row behind the last position that it fills.
        seed: of what the model says.
    """
    ids = {"<mask>": MASK, "<end>": END}
    for name in (prompt, *text, *(f" other{i}" for i in range(others))):
        ids.setdefault(name, len(ids) + 2)  # so that ids are not the page's numbers
    final = [ids[name] for name in text]
    body = [token if position in given else MASK for position, token in enumerate(final)]
    names = {token: name for name, token in ids.items()}
    film = Film([ids[prompt]], body, MASK, END, seed, {"planner": "info-gain", "backend": {"model": "made"}}, names)
    draw = random.Random(seed)
    tokens = sorted(names)
    for start in range(0, len(final), block):
        span = (start, start + block)
        while masked := film.masked(*span):
            film.add(_frame(film, span, masked, final, tokens, per_step, candidates, reopened or {}, ends, draw))
    return film


def _frame(
    film: Film,
    span: tuple[int, int],
    masked: list[int],
    final: Sequence[int],
    tokens: Sequence[int],
    per_step: int,
    candidates: int,
    reopened: Mapping[int, int],
    ends: int | None,
    draw: random.Random,
) -> Frame:
    entropies = [round(3 * draw.random() ** 2, 4) for _ in masked]
    by_entropy = sorted(range(len(masked)), key=entropies.__getitem__)
    chosen = sorted(by_entropy[:per_step])
    positions = [masked[i] for i in chosen]
    number = len(film.frames)
    again = [reopened[number]] if number in reopened and film.canvas[reopened[number]] != MASK else []
    return Frame(
        block=span,
        positions=positions,
        tokens=[final[position] for position in positions],
        confidence=[draw.random() for _ in positions],
        entropy=[entropies[i] for i in chosen],
        top=[[(final[position], 0.6), (tokens[-1], 0.25), (tokens[2], 0.1)] for position in positions],
        masked=masked,
        masked_entropy=entropies,
        likeliest=[final[position] if draw.random() < 0.7 else draw.choice(tokens) for position in masked],
        likeliest_confidence=[round(draw.random(), 4) for _ in masked],
        reopened=again,
        ended=[p for p, token in enumerate(film.canvas) if token == MASK and p > positions[-1] and number == ends],
        candidates=[_move(final, masked, per_step, i, positions, draw) for i in range(candidates)],
        forwards=candidates + 1,
        token_forwards=100,
        sequential_forwards=1,
    )


def _move(
    final: Sequence[int], masked: list[int], per_step: int, number: int, best: list[int], draw: random.Random
) -> Move:
    positions = best if number == 0 else draw.sample(masked, min(per_step, len(masked)))
    cost, after = draw.random(), draw.random()
    tokens = [final[position] for position in positions]
    return Move(positions, tokens, cost, after, -cost - after if number else 0.0, chosen=number == 0)


def big_film(block: int) -> Film:
    """1,024 tokens in 512 steps of 8 candidates."""
    text = [f" w{i * 7919 % 1024}" for i in range(1024)]
    return made_film(text, block=block, per_step=2, candidates=8, others=4000)


@st.composite
def any_film(draw: st.DrawFn) -> Film:
    """A film of any texts, with positions that are given, masked again or filled since the row had ended."""
    text = draw(st.lists(st.text(max_size=4), min_size=1, max_size=12))
    given = draw(st.sets(st.integers(0, len(text) - 1), max_size=len(text) - 1))
    return made_film(
        text,
        block=draw(st.integers(1, 12)),
        per_step=draw(st.integers(1, 3)),
        candidates=draw(st.integers(0, 3)),
        given=sorted(given),
        reopened=draw(st.dictionaries(st.integers(0, 3), st.sampled_from(range(len(text))), max_size=2)),
        ends=draw(st.none() | st.integers(0, 5)),
        seed=draw(st.integers(0, 5)),
    )
