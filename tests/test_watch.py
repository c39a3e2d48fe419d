"""The live view: what it shows, that it listens to keys, and that it changes nothing."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from select import select

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.traces import Film, Frame, Move
from mdm_sampling.views import drawing
from mdm_sampling.views.terminal import Screen, Watcher
from mdm_sampling.views.terminal.keys import Keys
from mdm_sampling.views.terminal.layout import expected, lines_of, shown, space_around
from mdm_sampling.views.terminal.lockstep import watch
from mdm_sampling.views.terminal.plain import SIGNS, encodable
from mdm_sampling.views.terminal.view import HOLE, Lane, canvas_lines, picture, prompt_lines

PUZZLE = "1... ..3. .1.. ...4"
MASK, END = 9, 8
NAMES = {0: "a", 1: " b", 2: "\n", 3: "[bold]", 4: "\x1b[31m", 5: "中", MASK: "_", END: "<|end|>"}


class Pressed(Keys):
    """Keys that are pressed one after the other, whenever somebody listens."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.available = True
        self.names: Iterator[str] = iter(names)
        self.heard: list[str] = []

    def __enter__(self) -> "Pressed":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, seconds: float) -> str | None:
        name = next(self.names, None)
        self.heard += [] if name is None else [name]
        return name


def terminal(width: int = 100, height: int = 40) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system="truecolor")


@st.composite
def films(draw: st.DrawFn) -> Film:
    """A film of a random canvas, filled in random order."""
    body = draw(st.lists(st.sampled_from([MASK, MASK, *NAMES]), min_size=1, max_size=60))
    film = Film(draw(st.lists(st.integers(0, 5), max_size=30)), body, MASK, END, 0, {}, NAMES)
    while holes := film.masked(0, len(body)):
        count = draw(st.integers(1, len(holes)))
        positions = sorted(draw(st.permutations(holes))[:count])
        tokens = [draw(st.integers(0, 5)) for _ in positions]
        move = Move(positions, tokens, cost=0.5, next_entropy=0.25, score=-0.75, chosen=True)
        film.add(
            Frame(
                block=(0, len(body)),
                positions=positions,
                tokens=tokens,
                confidence=[0.5] * count,
                entropy=[0.5] * count,
                top=[[(0, 0.5)]] * count,
                masked=holes,
                masked_entropy=[draw(st.floats(0, 12)) for _ in holes],
                likeliest=[0] * len(holes),
                likeliest_confidence=[0.5] * len(holes),
                reopened=[],
                ended=[],
                candidates=[move] * draw(st.integers(0, 20)),
                forwards=1,
                token_forwards=1,
                sequential_forwards=1,
            )
        )
    return film


@given(film=films(), width=st.integers(24, 140), height=st.integers(12, 60), data=st.data())
def test_a_picture_fits_and_shows_every_mask(film: Film, width: int, height: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(0, len(film.frames)))
    console = terminal(width, height)
    with console.capture() as captured:
        console.print(picture(Lane("x", film), steps, console, width, height))
    assert "\x1b[31m" not in captured.get()  # a token cannot change the terminal
    assert all(cell_len(Text.from_ansi(line).plain) <= width for line in captured.get().splitlines())
    assert len(captured.get().splitlines()) <= height or film.frames
    lines, active = canvas_lines(film, steps, width)
    tokens, _ = film.after(steps)
    assert sum(line.plain.count(HOLE) for line in lines) == tokens.count(MASK)
    assert all(line.cell_len <= width for line in lines)
    assert 0 <= active < len(lines)


def test_a_canvas_stands_in_the_lines_that_the_model_expects() -> None:
    film = Film([], [0, 2, 1, MASK], MASK, END, 0, {}, NAMES)
    assert lines_of(film, expected(film, 0)) == [[0, 1], [2, 3]]
    assert space_around(film, film.body) == ""
    sampler = mdm.load(max_new_tokens=20, block_size=20, steps=20)
    (lane,) = watched({"confidence": replace(sampler, planner=mdm.Confidence())}, PUZZLE)
    rows = [list(range(5 * row, 5 * row + 5)) for row in range(4)]
    for steps in range(21):
        assert lines_of(lane.film, expected(lane.film, steps)) == rows
        assert space_around(lane.film, expected(lane.film, steps)) == " "


def watched(samplers: dict[str, mdm.Sampler], prompt: str, screen: Screen | None = None) -> list[Lane]:
    """The lanes after all steps, on a screen without keys that waits for nothing."""
    sampler = next(iter(samplers.values()))
    with screen or Screen(terminal(), speed=1e6, together=True, keys=Pressed()) as shown:
        return watch(samplers, sampler.prompt_rows([prompt])[0], 3, shown)


@pytest.mark.parametrize("console", [terminal(), Console(file=io.StringIO())], ids=["terminal", "log"])
def test_watching_changes_nothing(base: mdm.Sampler, console: Console) -> None:
    sampler = replace(base, max_new_tokens=20, steps=12, planner=mdm.InfoGain(candidates=4))
    prompts = [PUZZLE, "..2. 4... ...1 .3..", PUZZLE]
    alone = sampler.generate(prompts, 3)
    with Screen(console, 1e6, keys=Pressed()) as screen:
        seen = sampler.generate(prompts, 3, observers=[Watcher(screen, sampler.backend, sampler.spec(), "info-gain")])
    assert seen.sequences == alone.sequences
    assert [row.forwards for row in seen.rows] == [row.forwards for row in alone.rows]
    assert "info-gain, row 1" in console.file.getvalue() or console.is_terminal  # type: ignore[attr-defined]


def test_planners_side_by_side_decode_as_they_do_alone(base: mdm.Sampler) -> None:
    planners = {"confidence": mdm.Confidence(), "info-gain": mdm.InfoGain(candidates=4), "random": mdm.Random()}
    samplers = {name: replace(base, max_new_tokens=20, steps=8, planner=planner) for name, planner in planners.items()}
    for lane in watched(samplers, PUZZLE):
        alone = samplers[lane.title].generate(PUZZLE, 3)
        assert lane.film.prefix + lane.film.canvas == alone.sequences[0]
        assert lane.film.cumulative_entropy[-1] == pytest.approx(alone.rows[0].cumulative_entropy, abs=1e-5)
        assert len(lane.film.frames) == alone.rows[0].steps
        assert lane.seconds > 0


def lanes_of(steps: int) -> list[Lane]:
    film = Film([], [MASK] * 5, MASK, END, 0, {}, NAMES)
    for position in range(steps):
        masked = list(range(position, 5))
        nothing = [0.0] * len(masked)
        seen = (masked, nothing, [0] * len(masked), nothing)
        film.add(Frame((0, 5), [position], [0], [1.0], [0.0], [[]], *seen, [], [], [], 1, 1, 1))
    return [Lane("a", film), Lane("b", film)]


def test_a_pause_waits_for_a_step_or_an_end_of_the_pause() -> None:
    keys = Pressed(["pause", "back", "back", "forward", "forward", "forward", "pause"])
    with Screen(terminal(), speed=1000.0, keys=keys) as screen:
        screen.step(lanes_of(3))
        assert keys.heard == ["pause", "back", "back", "forward", "forward", "forward"]  # the last asks for a new step
        assert screen.paused
        screen.step(lanes_of(4))
        assert not screen.paused


def test_the_view_goes_back_to_what_was_shown_before() -> None:
    screen = Screen(terminal(), speed=1.0)
    lanes = lanes_of(4)
    screen._obey("back", lanes)
    screen._obey("back", lanes)
    assert "step 2 " in drawn(screen, lanes)
    screen._obey("forward", lanes)
    assert "step 3 " in drawn(screen, lanes)


def drawn(screen: Screen, lanes: list[Lane]) -> str:
    console = Console(file=io.StringIO(), width=100, height=40)
    with console.capture() as captured:
        console.print(screen.render(lanes))
    return captured.get()


def test_keys_choose_the_row_and_the_speed_and_end_the_view() -> None:
    screen, lanes = Screen(terminal(), speed=1.0), lanes_of(2)
    screen._obey("next", lanes)
    assert "─ b ─" in drawn(screen, lanes)
    screen._obey("next", lanes)
    assert "─ a ─" in drawn(screen, lanes)
    for _ in range(20):
        screen._obey("slower", lanes)
    assert screen.speed == 0.25
    for _ in range(20):
        screen._obey("faster", lanes)
    assert screen.speed == 64
    keys = Pressed(["quit"])
    with Screen(terminal(), speed=0.25, keys=keys) as screen:
        began = time.monotonic()
        for steps in (1, 2, 3):
            screen.step(lanes_of(steps))  # at 4 seconds a step this would take 12
        assert time.monotonic() - began < 3


def test_the_last_step_stays_until_somebody_quits() -> None:
    keys = Pressed()
    with Screen(terminal(), speed=1e6, keys=keys) as screen:
        screen.step(lanes_of(3))
        keys.names = iter(["back", "pause", "back", "forward", "forward", "forward", "next", "quit", "back"])
        screen.stay()
        assert keys.heard[-1] == "quit"
        assert screen.row == 1
    with Screen(terminal(), speed=1e6, keys=Keys()) as screen:  # a terminal for the output alone
        screen.step(lanes_of(3))
        screen.stay()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "at most 1 step a second · space pause"),
        ({"speed": 2.0}, "at most 2 steps a second · space"),
        ({"paused": True}, "paused · space pause"),
        ({"paused": True, "back": 1}, "paused, 1 step back · space"),
        ({"paused": True, "back": 2}, "paused, 2 steps back · space"),
        ({"paused": True, "ended": True}, "all steps taken · ←→ step · q quit"),
        ({"paused": True, "ended": True, "back": 1}, "all steps taken, 1 step back · ←→"),
    ],
)
def test_the_line_of_keys_says_what_is_true(state: dict[str, object], words: str) -> None:
    screen = Screen(terminal(), speed=1.0, keys=Pressed())
    vars(screen).update(state)
    assert words in drawn(screen, lanes_of(3))
    screen.closed = True
    for steps, said in ((3, "stopped watching"), (5, "all steps taken")):
        last = drawn(screen, lanes_of(steps))
        assert said in last
        assert "quit" not in last


def test_a_prompt_that_is_cut_has_a_mark() -> None:
    film = Film([0] * 500 + [5], [MASK], MASK, END, 0, {}, NAMES)
    for width in (24, 25, 80):
        lines = prompt_lines(film, terminal(), width)
        assert lines[0].plain[0] == "…"
        assert lines[-1].plain[-1] == "中"
        assert all(line.cell_len <= width for line in lines)
    film.prefix = film.prefix[-40:]
    assert "…" not in "".join(line.plain for line in prompt_lines(film, terminal(), 24))


def test_a_long_title_keeps_its_end() -> None:
    lane = lanes_of(1)[0]
    lane.title = "info-gain:" + "candidates=4," * 20 + ", row 12"
    console = terminal(60)
    with console.capture() as captured:
        console.print(picture(lane, 1, console, 60, 20))
    assert ", row 12" in captured.get().splitlines()[0]


def test_the_end_token_has_one_sign(base: mdm.Sampler) -> None:
    film = lanes_of(1)[0].film
    assert shown(film, END) == drawing.END
    result = replace(base, max_new_tokens=20, steps=5).generate(PUZZLE)
    assert result.codec is not None
    ended = replace(result, sequences=[[*result.sequences[0][:-1], result.codec.eos_ids[0]]])
    assert ended.token_texts(0)[-1] == drawing.END


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "latin-1", "cp437"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_every_encoding_can_be_written(encoding: str, is_terminal: bool) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=is_terminal, width=60, height=30, color_system=None)
    lanes = lanes_of(2)
    lanes[0].film.names = NAMES | {0: "中", 1: "⏎"}
    lanes[0].film.prefix = [0, 1, 2, 5, END] * 60
    with Screen(console, 1e6, keys=Pressed()) as screen:
        screen.step(lanes)
    file.flush()
    written = file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "step 2" in written
    assert ("中" in written) is (encoding == "utf-8")


@given(text=st.text(), encoding=st.sampled_from(["ascii", "cp1252", "cp437", "utf-8", "no such"]))
def test_what_stands_for_another_sign_is_as_wide(text: str, encoding: str) -> None:
    made = encodable(text + "".join(SIGNS), encoding)
    assert cell_len(made) == cell_len(text + "".join(SIGNS))
    made.encode("ascii" if encoding == "no such" else encoding)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_without_a_terminal_each_step_is_a_line() -> None:
    code, stdout, _ = run(
        "watch", "--planner", "confidence", "--planner", "info-gain:4", "--steps", "5", "--max-new-tokens", "20", PUZZLE
    )
    lines = stdout.splitlines()
    assert code == 0
    assert sum(line.startswith("confidence: step") for line in lines) == 5
    assert sum(line.startswith("info-gain:candidates=4: step") for line in lines) == 5
    assert "moves weighed" in stdout
    assert "\x1b" not in stdout


def test_generate_and_infill_print_the_same_when_watched() -> None:
    for command in (["generate", PUZZLE, PUZZLE], ["infill", "1__4 __1_ _1__ ___1"]):
        plain, watched_too = run(*command, "--steps", "6"), run(*command, "--steps", "6", "--watch")
        assert plain[0] == watched_too[0] == 0
        assert watched_too[1] == plain[1]
        assert "step 1" in watched_too[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--planner", "confidence", "--planner", "nope", PUZZLE], "unknown name 'nope'"),
        (["--planner", "info-gain", "--planner", "info-gain:8", PUZZLE], "twice"),
        (["--planner", "margin", "--planner", "bypass", "--threshold", "0.5", PUZZLE], "--threshold would be ignored"),
        (["--planner", "margin", "--planner", "random", "--lookahead-batch", "4", PUZZLE], "would be ignored"),
        (["--candidate-number", "4", PUZZLE], "--planner info-gain:candidates="),
        (["--infill", "--chat", "1_"], "--chat would be ignored"),
        (["--speed", "0", PUZZLE], "--speed"),
        ([""], "empty"),
        (["hello"], "tokenizer does not know"),
    ],
)
def test_bad_input_is_a_sentence(arguments: list[str], message: str) -> None:
    code, stdout, stderr = run("watch", *arguments)
    assert code in (1, 2)
    assert not stdout
    assert message in stderr
    assert "Traceback" not in stderr


def test_a_real_terminal_is_given_back_as_it_was() -> None:
    """Keys steer, the last step stays until q, and whatever ends the view, the terminal's settings are restored."""
    import termios

    endings = {"q": 0, signal.SIGINT: 130, signal.SIGTERM: 143}
    terminals = [pty.openpty() for _ in endings]
    before = termios.tcgetattr(terminals[0][1])
    settings = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    command = [sys.executable, "-m", "mdm_sampling", "watch", "--speed", "64", "--steps", "3", PUZZLE]
    processes = [
        subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=settings,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # even if we don't hear it ourselves
        )
        for _, follower in terminals
    ]
    try:
        for (ending, code), (leader, follower), process in zip(endings.items(), terminals, processes, strict=True):
            seen = read_until(leader, b"all steps taken")
            assert termios.tcgetattr(follower) != before  # single keys
            os.write(leader, b"\x1b[D")
            seen += read_until(leader, b"1 step back")
            assert process.poll() is None
            if isinstance(ending, str):
                os.write(leader, ending.encode())
            else:
                process.send_signal(ending)
            assert process.wait(60) == code
            assert termios.tcgetattr(follower) == before
            seen += rest_of(leader)
            assert b"info-gain" in seen
            assert b"Traceback" not in seen
            assert b"quit" not in seen.split(b"all steps taken")[-1]
            assert (b"1342\r\n2431" in seen.split(b"all steps taken")[-1]) == (ending == "q")
            assert seen.rindex(b"all steps taken") > seen.rindex(b"q quit")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rest_of(terminal: int) -> bytes:
    seen = b""
    while select([terminal], [], [], 0)[0]:
        seen += os.read(terminal, 4096)
    return seen


def read_until(terminal: int, text: bytes) -> bytes:
    seen, due = b"", time.monotonic() + 90
    while text not in seen and time.monotonic() < due:
        if select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    assert text in seen, seen
    return seen


PRESSED = {" ": "pause", "\x1b[C": "forward", "\x1bOD": "back", "N": "forward", "+": "faster", "q": "quit"}
UNNAMED = ["x", "\x1b[5~", "\x1b[1;5C", "\u00e4", "\x1bOP"]


@given(st.lists(st.sampled_from([*PRESSED, *UNNAMED]), max_size=8), st.data())
def test_keys_are_told_apart_however_they_arrive(keys: list[str], data: st.DataObject) -> None:
    """Held arrows come several at once, and a key may come in pieces."""
    leader, follower = pty.openpty()
    sent = "".join(keys).encode()
    cut = data.draw(st.integers(0, len(sent)))
    with os.fdopen(follower) as stdin, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        with Keys() as listening:
            names = []
            for part in (sent[:cut], sent[cut:]):
                os.write(leader, part)
                names += [listening.read(0.01) for _ in range(len(keys) + 1)]
    os.close(leader)
    assert [name for name in names if name] == [PRESSED[key] for key in keys if key in PRESSED]


def test_a_dumb_terminal_gets_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    with Screen(console, speed=1.0, keys=Pressed()) as screen:
        screen.step(lanes_of(2)[:1])
    assert console.file.getvalue().startswith("a: step 2, filled 1 'a'")  # type: ignore[attr-defined]


def test_the_time_of_looking_is_not_counted(base: mdm.Sampler) -> None:
    class Slow:
        def begin(self, canvas: mdm.Canvas, seeds: list[int]) -> None:
            pass

        def add(self, record: mdm.StepRecord) -> None:
            time.sleep(0.5)

    sampler = replace(base, max_new_tokens=20, steps=4, planner=mdm.Confidence())
    began = time.monotonic()
    (row,) = sampler.generate(PUZZLE, observers=[Slow()]).rows
    assert row.seconds <= time.monotonic() - began - 0.5 * (row.steps - 1)
    assert row.steps == 4
