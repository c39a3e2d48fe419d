"""Figures of results, and results in notebooks: what is drawn is what the histories say."""

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise

import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import mdm_sampling as mdm
from mdm_sampling.history import RowHistory, Weighed
from mdm_sampling.traces import FilmKeeper
from mdm_sampling.views import plot_entropy, plot_order
from mdm_sampling.views.drawing import GREY, VIRIDIS, hex_of, ink, printable, viridis

PUZZLES = ["1__4\n__1_\n_1__\n___1", "_2__\n4___\n___1\n_3__"]


@dataclass
class Words:
    """A codec of given tokens."""

    words: list[str]

    eos_ids = ()

    def token_text(self, token: int) -> str:
        return self.words[token]


def made(words: list[str], orders: list[list[int]], prompt: int = 3) -> mdm.Result:
    """A result whose body tokens are the words, in turn, and whose position p was filled at an entropy of p / 10."""
    histories, reports = [], []
    for order in orders:
        entropy = [position / 10 if step >= 0 else 0.0 for position, step in enumerate(order)]
        paid = [
            sum(e for e, s in zip(entropy, order, strict=True) if s == step) for step in range(max([*order, -1]) + 1)
        ]
        histories.append(RowHistory(order, entropy, paid, []))
        reports.append(mdm.RowCost(0, len(paid), len(paid), 1, len(paid), sum(paid), 0.1))
    sequences = [[0] * prompt + [position % len(words) for position in range(len(order))] for order in orders]
    return mdm.Result([""] * len(orders), sequences, reports, {}, histories, Words(words))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def solved(base: mdm.Sampler) -> mdm.Result:
    return replace(base, steps=6, planner=mdm.InfoGain(candidates=4), cache=mdm.NoCache()).infill(PUZZLES)


def cells(figure: Figure) -> list[tuple[str, str]]:
    """Text and colour of each cell; rows' names have none."""
    axes = figure.axes[0]
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(text.get_text(), to_hex(patch.get_facecolor())) for text, patch in zip(axes.texts, patches, strict=False)]


def colours(order: list[int], last: int) -> list[str]:
    return [to_hex(GREY if step < 0 else colormaps["viridis"](step / last)) for step in order]


def test_cells_hold_the_tokens_in_the_colours_of_their_steps(solved: mdm.Result) -> None:
    last = max(solved.histories[0].order)
    found = cells(solved.plot_order(row=0))
    assert [colour for _, colour in found] == colours(solved.histories[0].order, last)
    assert "".join(text for text, _ in found).replace("⏎", "\n") == solved.texts[0]
    assert [colour for _, colour in found].count(to_hex(GREY)) == len(PUZZLES[0]) - PUZZLES[0].count("_")


def test_a_text_with_lines_is_laid_out_in_lines(solved: mdm.Result) -> None:
    patches = solved.plot_order(row=1).axes[0].patches
    lines = sorted({patch.get_y() for patch in patches})
    columns = sorted({patch.get_x() for patch in patches})
    assert len(lines) == 4
    assert len(columns) == 5  # the newline is the fifth
    assert solved.texts[1].split("\n")[2][1] == cells(solved.plot_order(row=1))[11][0]
    assert (patches[11].get_x(), patches[11].get_y()) == (columns[1], lines[2])


def test_rows_stand_under_each_other_in_the_same_colours(solved: mdm.Result) -> None:
    figure = solved.plot_order()
    last = max(max(history.order) for history in solved.histories)
    first, second = (history.order for history in solved.histories)
    assert [colour for _, colour in cells(figure)] == colours([*first, *second], last)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts[-2:]] == ["row 0", "row 1"]
    upper, lower = axes.patches[: len(first)], axes.patches[len(first) :]
    assert max(patch.get_y() for patch in upper) < min(patch.get_y() for patch in lower)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.parametrize("dpi", [72, 100, 300])
def test_cells_stay_within_the_figure_and_texts_within_their_cells(dpi: int) -> None:
    words = ["the", " internationalisation", "<|endoftext|>", "$x_1$", ".\n\n", "光合作用", ",", "x" * 500]
    figure = made(words, [[position % 7 for position in range(100)]]).plot_order()
    figure.set_dpi(dpi)
    figure.draw_without_rendering()
    axes, outside = figure.axes[0], figure.bbox
    for patch, text in zip(axes.patches, axes.texts, strict=True):
        cell, written = patch.get_window_extent(), text.get_window_extent()
        assert outside.x0 <= cell.x0
        assert cell.x1 <= outside.x1
        assert text.get_text().startswith("光") or (cell.x0 <= written.x0 and written.x1 <= cell.x1)
    for label in figure.axes[1].get_yticklabels():
        assert label.get_window_extent().x1 <= outside.x1


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_tokens_that_look_like_mathematics_are_drawn_as_they_are(kind: str) -> None:
    words = ["$_", "$x_1$", "$\\frac{$", "\\", "_^", "\x00", "\t", "\ud800", "\u202e", "a\nb", " ", ""]
    figure = made(words, [list(range(len(words)))]).plot_order()
    shown = ["$_", "$x_1$", "$\\frac{$", "\\", "_^", "\\x00", "\\t", "\\ud800", "\\u202e", "a⏎b", "␣", ""]
    assert [text for text, _ in cells(figure)] == shown
    file = BytesIO()
    figure.savefig(file, format=kind)
    assert file.getvalue()


def test_long_rows_make_a_heat_map_of_positions_and_rows() -> None:
    orders = [[position % 50 for position in range(200)], [-1] + [position % 100 for position in range(149)]]
    axes = made(["a"], orders).plot_order().axes[0]
    (image,) = axes.images
    pixels = image.get_array()
    assert pixels.shape[:2] == (2, 200)
    for row, order in enumerate(orders):
        assert [to_hex(pixel) for pixel in pixels[row, : len(order)]] == colours(order, 99)
    assert [to_hex(pixel) for pixel in pixels[1, 150:]] == ["#ffffff"] * 50
    assert not made(["a"], [[0] * 120]).plot_order().axes[0].images
    assert made(["a"], [[0] * 121]).plot_order().axes[0].images
    assert made(["a"], [[0] * 100] * 7).plot_order().axes[0].images


def names_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_end_at_the_cumulative_entropy_of_their_row(solved: mdm.Result) -> None:
    cumulative, per_step = solved.plot_entropy().axes
    for row, line, paid in zip(solved.rows, cumulative.lines, per_step.lines, strict=True):
        assert line.get_ydata()[-1] == pytest.approx(row.cumulative_entropy, abs=1e-5)
        assert list(line.get_xdata()) == list(range(1, row.steps + 1))
        assert sum(paid.get_ydata()) == pytest.approx(row.cumulative_entropy, abs=1e-5)
    assert "(nats)" in cumulative.get_ylabel()
    assert "(nats)" in per_step.get_ylabel()
    assert per_step.get_xlabel() == "step"


def test_several_results_are_overlaid_with_their_means() -> None:
    """Of rows of different lengths the mean ends at the mean of the ends."""
    results = {"short": made(["a"], [[0, 1, 2], [0, 1, 2, 3, 4]]), "long": made(["a"], [list(range(7))])}
    axes = plot_entropy({name: result.histories for name, result in results.items()}).axes[0]
    assert names_of(axes.figure) == ["short, mean of 2 rows, 0.65 nats", "long, 2.10 nats"]
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert [line.get_ydata()[-1] for line in named] == pytest.approx([0.65, 2.1])
    assert len(axes.lines) == 2 + 1 + 1
    assert len({line.get_color() for line in axes.lines}) == 2
    assert len({line.get_marker() for line in named}) == 2


def test_many_rows_of_one_result_share_a_name() -> None:
    few, many = (made(["a"], [[0, 1]] * n).plot_entropy() for n in (8, 9))
    assert len(names_of(few)) == 8
    assert names_of(many) == ["mean of 9 rows, 0.10 nats"]


@pytest.mark.parametrize("name", ["margin", "bypass:0.9,otherwise=(info-gain:candidates=8)"])
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("is_given", [False, True], ids=["own figure", "given axes"])
def test_a_legend_lies_on_no_curve(name: str, count: int, is_given: bool) -> None:
    histories = {f"{name} {i}": made(["a"], [[0, 1, 2]] * 3).histories for i in range(count)}
    ax = Figure(figsize=(6, 8)).subplots(2, 1)[1] if is_given else None
    figure = plot_entropy(histories, ax=ax)
    figure.draw_without_rendering()
    legend = ax.get_legend() if ax is not None else figure.legends[0]
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == count
    assert not any(box.overlaps(axes.get_window_extent()) for axes in (figure.axes if ax is None else [ax]))
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert min(axes.get_window_extent().height for axes in figure.axes) > 0.1 * figure.bbox.height


def test_the_chosen_move_has_the_best_score(solved: mdm.Result) -> None:
    weighed = solved.histories[1].weighed
    score, cost, after = solved.plot_candidates(row=1).axes
    for axes, name in ((score, "score"), (cost, "cost"), (after, "next_entropy")):
        every, chosen = axes.lines
        assert list(every.get_ydata()) == [value for move in weighed for value in getattr(move, name)]
        assert list(chosen.get_xdata()) == [move.step + 1 for move in weighed]
    best = [max(move.score) for move in weighed]
    assert list(score.lines[1].get_ydata()) == best
    assert list(cost.lines[1].get_ydata()) == [move.cost[move.chosen] for move in weighed]
    assert "(nats)" in cost.get_ylabel()


def test_winners_are_joined_over_steps_that_weighed_nothing() -> None:
    result = made(["a"], [[0, 1, 2]])
    result.histories[0].weighed.extend(
        Weighed(step, [0.3, 0.1], [0.2, float("nan")], [-0.5, -0.4], chosen=1) for step in (0, 2)
    )
    figure = result.plot_candidates()
    figure.savefig(BytesIO())
    assert list(figure.axes[0].lines[1].get_xdata()) == [1, 3]


def test_films_are_drawn_as_results_are(base: mdm.Sampler) -> None:
    sampler = replace(base, steps=6, planner=mdm.InfoGain(candidates=4), cache=mdm.NoCache())
    keeper = FilmKeeper(sampler.backend, sampler.spec())
    result = sampler.infill(PUZZLES, observers=[keeper])
    histories = [film.history for film in keeper.films]
    assert cells(plot_order(histories, result.token_texts)) == cells(result.plot_order())
    for film, line in zip(keeper.films, plot_entropy(histories).axes[0].lines, strict=True):
        assert list(line.get_ydata()) == pytest.approx(film.cumulative_entropy)


def test_a_row_that_weighed_nothing_says_how_to_make_it_weigh(base: mdm.Sampler) -> None:
    result = replace(base, planner=mdm.Confidence(), steps=2).infill(PUZZLES[0])
    with pytest.raises(mdm.SpecError, match="row 0: no step weighed candidates; use the planner info-gain"):
        result.plot_candidates()


@pytest.mark.parametrize("row", [-1, 2])
@pytest.mark.parametrize("name", ["plot_order", "plot_entropy", "plot_candidates"])
def test_a_row_that_is_not_there_is_refused(solved: mdm.Result, name: str, row: int) -> None:
    with pytest.raises(mdm.SpecError, match=rf"row must be a number from 0 to 1, got {row}"):
        getattr(solved, name)(row=row)


def test_nothing_to_draw_is_refused() -> None:
    empty = mdm.Result([], [], [], {}, [])
    for draw in (empty.plot_order, empty.plot_entropy, empty.plot_candidates):
        with pytest.raises(mdm.SpecError, match="no rows to draw"):
            draw()
    with pytest.raises(mdm.SpecError, match="no results to draw"):
        plot_entropy({})
    assert "no rows" in empty._repr_html_()


def test_given_axes_are_drawn_into_and_their_figure_is_returned(solved: mdm.Result) -> None:
    figure = Figure(figsize=(9, 3))
    left, middle, right, last = figure.subplots(1, 4)
    assert solved.plot_order(ax=left) is figure
    assert solved.plot_entropy(ax=middle) is figure
    assert solved.plot_candidates(ax=right) is figure
    assert made(["a"], [[0] * 200]).plot_order(ax=last) is figure
    assert left.patches
    assert len(middle.lines) == 2
    assert list(right.lines[1].get_ydata()) == [max(move.score) for move in solved.histories[0].weighed]
    figure.draw_without_rendering()
    widest = max(text.get_window_extent().width for text in left.texts[: len(left.patches)])
    assert widest < left.patches[0].get_window_extent().width


def test_a_row_that_no_step_filled_is_grey() -> None:
    result = made(["a"], [[-1, -1]])
    assert {colour for _, colour in cells(result.plot_order())} == {to_hex(GREY)}
    result.plot_entropy().savefig(BytesIO())
    assert "no step filled this" in result._repr_html_()


def test_a_notebook_shows_a_figure_without_pyplot() -> None:
    """In a process of its own, since pyplot may be here already."""
    lines = (
        "import sys, mdm_sampling as mdm",
        "from mdm_sampling.history import RowHistory",
        "row = mdm.RowCost(0, 1, 1, 1, 1, 0.5, 0.1)",
        "result = mdm.Result([''], [[1, 2]], [row], {}, [RowHistory([0], [0.5], [0.5], [])])",
        "assert result._repr_html_() and 'matplotlib' not in sys.modules",
        "assert all(f._repr_png_()[:4] == b'\\x89PNG' for f in (result.plot_order(), result.plot_entropy()))",
        "assert 'matplotlib.pyplot' not in sys.modules",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, solved: mdm.Result) -> None:
    monkeypatch.delitem(sys.modules, "mdm_sampling.views.plots")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (solved.plot_order, solved.plot_entropy, solved.plot_candidates):
        with pytest.raises(mdm.SpecError, match=re.escape('pip install "mdm-sampling[plot]"')):
            draw()
    assert "row 1" in solved._repr_html_()


def test_a_model_without_tokenizer_shows_ids() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(100, 8), torch.nn.Linear(8, 100))
    result = mdm.Sampler(mdm.wrap(model, mask_id=99, vocab_size=100), steps=4).fill([([1, 2, 3], [99] * 8)])
    ids = [str(token) for token in result.sequences[0][3:]]
    assert [text for text, _ in cells(result.plot_order())] == ids
    assert re.findall(r">(\d+)</span>", result._repr_html_()) == ids
    assert "</span> <span" in result._repr_html_()


def test_the_html_of_a_row_names_step_and_entropy_of_each_token(solved: mdm.Result) -> None:
    page = solved._repr_html_()
    spans = re.findall(r'background:(#\w+);color:(\w+)" title="([^"]*)">([^<]*)</span>', page)
    orders = [step for history in solved.histories for step in history.order]
    entropies = [entropy for history in solved.histories for entropy in history.entropy]
    assert "".join(text for *_, text in spans).replace("⏎", "\n") == "".join(solved.texts)
    for (colour, text_colour, title, _), step, entropy in zip(spans, orders, entropies, strict=True):
        assert title == ("no step filled this" if step < 0 else f"step {step + 1}, {entropy:.3f} nats")
        assert (colour == to_hex(GREY)) == (step < 0)
        assert text_colour == ink(to_rgb(colour))
    for number, row in enumerate(solved.rows):
        counts = f"{row.steps} steps, {row.sequential_forwards} forwards"
        cost = f"{counts}, cumulative entropy {row.cumulative_entropy:.3f} nats"
        assert f"row {number}: {cost}" in page


def test_steps_count_from_one_and_a_single_one_is_no_plural() -> None:
    one, four = made(["a"], [[0]]), made(["a"], [[0, 1, 2, 3]])
    assert "filled at step 1 (dark) to 4 (bright)" in four._repr_html_()
    assert (
        "1 step, 1 forward, " in replace(one, rows=[replace(one.rows[0], steps=1, sequential_forwards=1)])._repr_html_()
    )
    for result, last in ((one, 2), (four, 4)):
        assert result.plot_order().axes[1].get_ylim() == (1, last)


def test_html_escapes_what_the_model_wrote() -> None:
    page = made(['<script>alert("x")', "</div>", "&amp;", "'\"", "$x$"], [[0, 1, 2, 3, 4]])._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page
    assert "&lt;/div&gt;" in page
    assert "&amp;amp;" in page
    assert page.count("<div") == page.count("</div>")
    assert "mathjax_ignore" in page


def test_html_shows_ten_rows_and_counts_the_others() -> None:
    ten, more = (made(["a"], [[0]] * rows)._repr_html_() for rows in (10, 13))
    assert "row 9:" in ten
    assert "not shown" not in ten
    assert "row 9:" in more
    assert "row 10:" not in more
    assert "rows not shown: 3" in more


def test_the_colours_of_notebooks_are_those_of_figures() -> None:
    assert [hex_of(colour) for colour in VIRIDIS] == [to_hex(colormaps["viridis"](i / 16)) for i in range(17)]
    for i in range(101):
        assert viridis(i / 100) == pytest.approx(colormaps["viridis"](i / 100)[:3], abs=0.04)


def test_text_is_readable_on_every_colour() -> None:
    """WCAG's AA, a contrast of 4.5, and dark colours come before bright ones."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lightness = [luminance(viridis(i / 100)) for i in range(101)]
    for i, light in enumerate(lightness):
        contrast = 1.05 / (light + 0.05) if ink(viridis(i / 100)) == "white" else (light + 0.05) / 0.05
        assert contrast >= 4.5
    assert all(a < b for a, b in pairwise(lightness))


def test_a_printed_token_has_one_line_and_is_not_endless() -> None:
    assert printable("\n\n") == "⏎⏎"
    assert printable(" the") == " the"
    assert printable("  ") == "␣␣"
    assert printable("\r\n \x1b[0m") == "\\r⏎ \\x1b[0m"
    assert printable("x" * 24) == "x" * 24
    assert printable("x" * 25) == "x" * 23 + "…"
