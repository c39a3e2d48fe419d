"""Rows in a notebook: each row's text as its tokens, coloured by the step that filled them. Needs no extra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from ..history import RowCost, RowHistory
from .drawing import GREY, counted, hex_of, ink, last_step, viridis

MOST_ROWS = 10


def html(
    histories: Sequence[RowHistory],
    costs: Sequence[RowCost],
    token_texts: Callable[[int], Sequence[str]],
    between: str = "",
) -> str:
    """The first rows with what each cost; further rows are counted.

    Args:
        token_texts: gives a row's tokens, see `drawing.token_texts`.
        between: stands between two of them.
    """
    last = last_step(histories)
    rows = list(zip(histories, costs, strict=True))[:MOST_ROWS]
    parts = [_row(row, token_texts(row), between, *of_row, last) for row, of_row in enumerate(rows)]
    hidden = len(histories) - len(parts)
    if hidden:
        parts.append(f"<div>rows not shown: {hidden}</div>")
    key = f"colour: filled at step 1 (dark) to {last + 1} (bright); grey: no step filled it" if parts else "no rows"
    parts.append(f'<div style="font-size:85%">{key}</div>')
    # The classes keep MathJax away from a token such as $x$.
    return f'<div class="mathjax_ignore tex2jax_ignore">{"".join(parts)}</div>'


def _row(row: int, texts: Sequence[str], between: str, history: RowHistory, cost: RowCost, last: int) -> str:
    tokens = zip(texts, history.order, history.entropy, strict=True)
    text = between.join(_token(*token, last) for token in tokens)
    told = f"{counted(cost.steps, 'step')}, {counted(cost.sequential_forwards, 'forward')}"
    told += f", cumulative entropy {cost.cumulative_entropy:.3f} nats"
    return (
        f'<div style="font-family:monospace;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere">{text}</div>'
        f'<div style="font-size:85%;margin-bottom:1em">row {row}: {told}</div>'
    )


def _token(text: str, step: int, entropy: float, last: int) -> str:
    """A token on the colour of its step, in an explicit ink so that light and dark notebooks show the same."""
    colour = GREY if step < 0 else viridis(step / max(last, 1))
    title = "no step filled this" if step < 0 else f"step {step + 1}, {entropy:.3f} nats"
    style = f"padding:0 2px;margin-right:1px;background:{hex_of(colour)};color:{ink(colour)}"
    return f'<span style="{style}" title="{title}">{escape(text)}</span>' + ("<br>" if "⏎" in text else "")
