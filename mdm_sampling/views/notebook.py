"""A result in a notebook: each row's text as its tokens, coloured by the step that filled them. Needs no extra."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..history import RowHistory
from ..result import Result
from .drawing import END, counted, hex_of, ink, viridis, visible

MOST_ROWS = 10
LONGEST_TEXT = 24
GREY = (0.8, 0.8, 0.8)
"""The colour of positions that no step filled."""


def html(result: Result) -> str:
    """The first rows of a result with what each cost; further rows are counted."""
    last = last_step(result.histories)
    parts = [_row(result, row, last) for row in range(min(len(result.histories), MOST_ROWS))]
    hidden = len(result.histories) - len(parts)
    if hidden:
        parts.append(f"<div>rows not shown: {hidden}</div>")
    key = f"colour: filled at step 1 (dark) to {last + 1} (bright); grey: no step filled it" if parts else "no rows"
    parts.append(f'<div style="font-size:85%">{key}</div>')
    # The classes keep MathJax away from a token such as $x$.
    return f'<div class="mathjax_ignore tex2jax_ignore">{"".join(parts)}</div>'


def _row(result: Result, row: int, last: int) -> str:
    report, history = result.rows[row], result.histories[row]
    tokens = zip(token_texts(result, row), history.order, history.entropy, strict=True)
    text = ("" if result.codec else " ").join(_token(*token, last) for token in tokens)
    cost = f"{counted(report.steps, 'step')}, {counted(report.forwards, 'forward')}"
    cost += f", cumulative entropy {report.cumulative_entropy:.3f} nats"
    return (
        f'<div style="font-family:monospace;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere">{text}</div>'
        f'<div style="font-size:85%;margin-bottom:1em">row {row}: {cost}</div>'
    )


def _token(text: str, step: int, entropy: float, last: int) -> str:
    """A token on the colour of its step, in an explicit ink so that light and dark notebooks show the same."""
    colour = GREY if step < 0 else viridis(step / max(last, 1))
    title = "no step filled this" if step < 0 else f"step {step + 1}, {entropy:.3f} nats"
    style = f"padding:0 2px;margin-right:1px;background:{hex_of(colour)};color:{ink(colour)}"
    return f'<span style="{style}" title="{title}">{escape(text)}</span>' + ("<br>" if "⏎" in text else "")


def token_texts(result: Result, row: int) -> list[str]:
    """The tokens of a row's body on one line each: a newline as ⏎, the end token as ■, or the ids."""
    history = result.histories[row]
    ids = result.sequences[row][-len(history.order) :] if history.order else []
    if result.codec is None:
        return [str(token) for token in ids]
    names = {token: printable(result.codec.token_text(token)) for token in set(ids)}
    names |= dict.fromkeys(result.codec.eos_ids[:1], END)
    return [names[token] for token in ids]


def printable(text: str) -> str:
    """A token's text with nothing in it that moves the text around it, shortened if it is very long."""
    text = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    if text.isspace():
        text = text.replace(" ", "␣")
    return visible(text)


def last_step(histories: Sequence[RowHistory]) -> int:
    """The last step, from 0, that filled a position of any of the rows; 0 if none did."""
    return max((step for history in histories for step in history.order), default=0)
