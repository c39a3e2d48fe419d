"""Tasks: items that are held out, seeded and solvable, and graders that are exact."""

import json
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.registry.registry import registry
from mdm_sampling.tasks.arithmetic import is_derivation, random_problem
from mdm_sampling.tasks.grids import as_text, dig, is_solution, is_unique, random_grid, solutions
from mdm_sampling.tasks.jsonl import is_match, last_boxed, number_of, read_answer
from mdm_sampling.tasks.split import is_held_out
from mdm_sampling.tasks.sudoku import read_grid

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}


def naive_is_grid(cells: list[int], size: int) -> bool:
    """By looking at every pair of cells that share a row, a column or a box."""
    high, wide = BOXES[size]
    for a, b in product(range(size * size), repeat=2):
        (r1, c1), (r2, c2) = divmod(a, size), divmod(b, size)
        related = r1 == r2 or c1 == c2 or (r1 // high == r2 // high and c1 // wide == c2 // wide)
        if a < b and related and cells[a] == cells[b]:
            return False
    return all(1 <= cell <= size for cell in cells)


# --- Sudoku -------------------------------------------------------------------------------------------------------


@given(size=st.sampled_from([4, 6, 9]), seed=st.integers(0, 1000), change=st.integers(0, 10_000))
def test_random_grids_are_grids_and_changed_ones_are_not(size: int, seed: int, change: int) -> None:
    rng = Random(seed)
    cells = list(random_grid(size, rng))
    assert naive_is_grid(cells, size)
    assert is_solution(dig(cells, 5, rng), cells)
    position = change % len(cells)
    cells[position] = cells[position] % size + 1
    assert not naive_is_grid(cells, size)
    assert not is_solution((0,) * len(cells), cells)


def test_there_are_288_grids_of_size_4() -> None:
    found = list(solutions((0,) * 16))
    assert len(found) == len(set(found)) == 288
    assert all(naive_is_grid(list(grid), 4) for grid in found)


def test_the_solver_finds_all_solutions_and_none_where_digits_clash() -> None:
    puzzle = tuple(map(int, "1000003001000004"))
    brute = [grid for grid in solutions((0,) * 16) if all(p in (0, g) for p, g in zip(puzzle, grid, strict=True))]
    assert sorted(solutions(puzzle)) == sorted(brute)
    assert not list(solutions((1, 1) + (0,) * 14))
    assert is_unique(tuple(map(int, "1000003001000024"))) == (
        sum(all(p in (0, g) for p, g in zip(map(int, "1000003001000024"), grid, strict=True)) for grid in brute) == 1
    )


@pytest.mark.parametrize("spec", ["sudoku", "sudoku:6", "sudoku:9", "sudoku:4,form=prompt", "sudoku:6,form=instruct"])
def test_puzzles_are_distinct_seeded_held_out_and_solved_by_their_solutions(spec: str) -> None:
    task = mdm.build("tasks", spec)
    items = task.items(20, 3)
    assert len({item.name for item in items}) == 20
    assert list(task.items(20, 3)) == list(items)
    assert list(task.items(8, 3)) == list(items)[:8], "more items of a seed must be a longer list"
    assert {item.name for item in items} != {item.name for item in task.items(20, 4)}
    fewest, most = {4: (6, 12), 6: (14, 24), 9: (36, 54)}[task.size]
    for item in items:
        puzzle = tuple(map(int, item.name))
        found = list(solutions(puzzle)) if task.size < 9 else [next(solutions(puzzle))]
        assert fewest <= puzzle.count(0) <= most
        assert is_held_out(item.name) if task.size == 4 else True
        assert task.size > 6 or task.size == 4 or any(is_held_out("".join(map(str, grid))) for grid in found)
        for grid in found[:3]:
            assert task.grade(item, as_text(grid, "", "\n")) == mdm.Grade(as_text(grid, "", "\n"), 1.0)
        wrong = list(found[0])
        wrong[puzzle.index(0)] = wrong[puzzle.index(0)] % task.size + 1
        assert task.grade(item, as_text(wrong, "", "\n")).score == 0


def test_holes_and_uniqueness_can_be_chosen() -> None:
    assert {item.name.count("0") for item in mdm.Sudoku(holes="5").items(10, 0)} == {5}
    assert {item.name.count("0") for item in mdm.Sudoku(6, holes="20-22").items(30, 0)} == {20, 21, 22}
    assert all(is_unique(tuple(map(int, item.name))) for item in mdm.Sudoku(holes="9", unique=True).items(10, 0))
    assert not all(is_unique(tuple(map(int, item.name))) for item in mdm.Sudoku(holes="9").items(30, 0))
    with pytest.raises(mdm.SpecError, match=r"sudoku: found only .* of 200"):
        mdm.Sudoku(holes="16").items(200, 0)
    with pytest.raises(mdm.SpecError, match=r"countdown: found only .* of 9"):
        mdm.Countdown(largest=1).items(9, 0)


def test_the_three_forms_ask_the_same_puzzle() -> None:
    infill, prompt, words = (mdm.Sudoku(form=form).items(1, 0)[0] for form in ("infill", "prompt", "instruct"))  # type: ignore[arg-type]
    assert infill.name == prompt.name == words.name
    assert infill.prompt == ""
    assert infill.body == as_text(tuple(map(int, infill.name)), "[MASK]", "\n")
    assert prompt.body is None
    assert prompt.prompt == as_text(tuple(map(int, infill.name)), ".", " ")
    assert isinstance(words.prompt, str)
    assert prompt.prompt.replace(" ", "\n") in words.prompt


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321"),
        ("1,2,3,4\n[3,4,1,2]\n2\u25021\u25024\u25023\n4 3 2 1", "1234\n3412\n2143\n4321"),
        ("1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\n", "1234\n3412\n2143\n4321"),
        ("Sure:\n\n12|34\n34|12\n-----\n21|43\n43|21\nDone.", "1234\n3412\n2143\n4321"),
        ("1111\n1111\n1111\n1111\nNo:\n1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321"),  # the last grid
        ("1234\n3412\n2143\n4321\n1234", None),  # five rows are not a grid
        ("1234\n3412\n2143", None),
        ("1234\n3412\n2143\n4325", None),  # no such digit
        ("12343\n3412\n2143\n4321", None),
        ("", None),
        ("1234\n3412\n2143\n4321\n\n1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321"),  # the same twice
        ("4321\n2143\n3412\n1234\n1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321"),
        ("1234\n3412\n2143\n4321\n\n1234\n34", "1234\n3412\n2143\n4321"),  # cut off while it repeats itself
        ("1234\n3412\n2143\n4321\n\nDone: 1234", "1234\n3412\n2143\n4321"),
        ("1111\n\n1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321"),
        ("1234\n3412\n\n2143\n4321", "1234\n3412\n2143\n4321"),
        ("1234\n3412\nand\n2143\n4321", None),
        ("1234\n3412\n\n2143", None),
        ("1234 3412 2143 4321", "1234\n3412\n2143\n4321"),
        ("So:\n1234341221434321\n\nDone.", "1234\n3412\n2143\n4321"),
        ("12 34 | 34 12 | 21 43 | 43 21", "1234\n3412\n2143\n4321"),
        ("1234 3412 2143 4321 1", None),
        ("1111 1111 1111 1111\n1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321"),
    ],
)
def test_a_grid_is_read_out_of_a_text(text: str, grid: str | None) -> None:
    assert read_grid(text, 4) == grid


def test_another_valid_filling_counts_and_a_changed_digit_does_not() -> None:
    item = mdm.Item("1000000000000000", "")
    assert mdm.Sudoku().grade(item, "1234\n3412\n2143\n4321").score == 1
    assert mdm.Sudoku().grade(item, "1234\n2143\n3412\n4321").score == 0  # boxes fail
    assert mdm.Sudoku().grade(item, "2134\n3412\n1243\n4321").score == 0  # the given 1 was changed


def csv_file(folder: Path, *lines: str, header: str = "Puzzle,Solution") -> str:
    file = folder / "puzzles.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return str(file)


GOOD = "1000003001000004,1342243141233214"


def test_puzzles_from_a_file(tmp_path: Path) -> None:
    task = mdm.Sudoku(file=csv_file(tmp_path, GOOD, "1342243141233210,1342243141233214"))
    assert [item.name for item in task.items(None, 0)] == ["1000003001000004", "1342243141233210"]
    assert len(task.items(1, 5)) == 1
    with pytest.raises(mdm.SpecError, match=r"3 puzzles were asked for, and .* has 2"):
        task.items(3, 0)
    assert mdm.build("tasks", mdm.describe(task)) == task


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["12,34"], "line 2: a puzzle is 16, 36 or 81 digits"),
        ([GOOD, "1000003001000004,1342243141233241"], "line 3: the solution does not solve the puzzle"),
        (["2000003001000004,1342243141233214"], "line 2: the solution does not solve the puzzle"),
        (["1342243141233214,1342243141233214"], "line 2: the puzzle has no hole"),
        (["0" * 36 + "," + "1" * 36], "size is 6, not 4; write sudoku:size=6"),
        (["1000003001000004"], "the solution does not solve"),
        ([], "holds no puzzle"),
    ],
)
def test_a_bad_file_is_refused_by_its_line(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.Sudoku(file=csv_file(tmp_path, *lines)).items(None, 0)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mdm.SpecError, match="needs the columns Puzzle and Solution"):
        mdm.Sudoku(file=csv_file(tmp_path, GOOD, header="a,b")).items(None, 0)
    with pytest.raises(mdm.SpecError, match="cannot be read"):
        mdm.Sudoku(file=str(tmp_path / "none.csv")).items(None, 0)
    (tmp_path / "latin.csv").write_bytes(b"Puzzle,Solution\n\xff")
    with pytest.raises(mdm.SpecError, match="not UTF-8"):
        mdm.Sudoku(file=str(tmp_path / "latin.csv")).items(None, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sudoku:5", "size must be one of 4, 6, 9"),
        ("sudoku:holes=0", "holes must be a number or a range within 1 and 16"),
        ("sudoku:holes=9-7", "holes must be"),
        ("sudoku:holes=17", "holes must be"),
        ("sudoku:holes=many", "holes must be"),
        ("sudoku:file=a.csv,holes=4", "holes would be ignored"),
        ("countdown:5", "numbers must be one of 3, 4"),
        ("countdown:largest=9,limit=8", "1 <= largest <= limit"),
        ("jsonl:a.jsonl,match=almost", "match must be one of exact, number, regex"),
        ("jsonl:a.jsonl,read=middle", "read must be one of"),
    ],
)
def test_bad_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("tasks", spec)


# --- Countdown ----------------------------------------------------------------------------------------------------


def derivations(numbers: tuple[int, ...]) -> Iterator[tuple[list[str], int]]:
    """All derivations, by brute force over ordered pairs."""
    if len(numbers) == 1:
        yield [], numbers[0]
        return
    for i, j in permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        results = {"+": a + b, "-": a - b, "*": a * b}
        if b and a % b == 0:
            results["/"] = a // b
        for operation, result in results.items():
            for steps, last in derivations((*rest, result)):
                yield [f"{a}{operation}{b}={result}", *steps], last


@given(numbers=st.tuples(*[st.integers(1, 9)] * 3), seed=st.integers(0, 10_000), separator=st.sampled_from([",", "\n"]))
def test_every_derivation_counts_for_its_own_target_alone(numbers: tuple[int, ...], seed: int, separator: str) -> None:
    steps, target = Random(seed).choice(list(derivations(numbers)))
    assert is_derivation(numbers, target, separator.join(steps))
    assert not is_derivation(numbers, target + 1, separator.join(steps))
    assert not is_derivation((*numbers, 1), target, separator.join(steps)), "a number was left out"
    assert not is_derivation(numbers[:2], target, separator.join(steps))
    assert not is_derivation(numbers, target, separator.join(steps[:-1]))


@pytest.mark.defect(30)
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("3*5=15,15+8=23", True),
        (" 3 * 5 = 15 ,\n15+8 = 23\n", True),
        ("3\u00d75=15; 15+8=23.", True),
        ("8+15=23", False),  # 15 was not made
        ("3*5=" + "1" * 5000, False),
        ("\u0663*\u0665=\u0661\u0665,\u0661\u0665+\u0668=\u0662\u0663", False),  # other scripts' digits
        ("3*5=15,15+8=24", False),  # wrong, and not the target
        ("3+5=8,8+8=16,16+7=23", False),  # 7 was not given
        ("3*5=15,8+15=23,23+0=23", False),
        ("5*5=25,25-8=17", False),  # 5 twice
        ("3*5=14,14+9=23", False),  # does not hold
        ("15+8=23,3*5=15", False),  # used before it is made
        ("3*5=15 and 15+8=23", False),
        ("the answer is 23", False),
        ("23", False),
        ("", False),
    ],
)
def test_countdown_is_graded_exactly(text: str, right: bool) -> None:
    """The published grader takes a gold substring or the last number for an answer."""
    item = mdm.Item("", "", data={"numbers": [3, 5, 8], "target": 23})
    assert mdm.Countdown().grade(item, text).score == right
    assert mdm.Countdown().grade(item, f"I think:\n<answer>{text}</answer>").score == right


@pytest.mark.parametrize("numbers", [3, 4])
def test_countdown_problems_are_solvable_distinct_held_out_and_fit_their_answers(numbers: int) -> None:
    task = mdm.Countdown(numbers)  # type: ignore[arg-type]
    items = task.items(40, 1)
    assert list(task.items(10, 1)) == list(items)[:10]
    assert len({item.name for item in items}) == 40
    for item in items:
        assert is_held_out(item.name)
        given, target = item.data["numbers"], item.data["target"]
        assert item.prompt == f"{','.join(map(str, given))}={target}"
        steps = next(steps for steps, last in derivations(tuple(given)) if last == target)
        assert task.grade(item, ",".join(steps)).score == 1


@given(numbers=st.sampled_from([3, 4]), seed=st.integers(0, 10_000))
def test_made_problems_carry_a_derivation_within_their_range(numbers: int, seed: int) -> None:
    problem = random_problem(numbers, 9, 99, Random(seed))
    assert is_derivation(problem.numbers, problem.target, problem.derivation)
    assert len(problem.derivation) < mdm.Countdown(numbers).max_new_tokens  # type: ignore[arg-type]
    assert all(1 <= int(step.split("=")[1]) <= 99 for step in problem.derivation.split(","))


# --- Your own questions -------------------------------------------------------------------------------------------


@pytest.mark.defect(30)
@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("1,500", "1500", True),
        ("18.0", "18", True),
        ("$1,500.00", "1500", True),
        ("3.50", "3.5", True),
        ("1/2", "0.5", True),
        ("-7", "-7.0", True),
        ("\u22127", "-7", True),
        ("42.", "42", True),
        ("1e3", "1000", True),
        ("1", "10", False),
        ("10", "1", False),
        ("3.5", "3", False),
        ("1,50", "150", False),  # no thousands separator
        ("1/0", "1", False),
        ("12 apples", "12", False),
        ("$5$", "5", True),
        ("-$5", "-5", True),
        ("-US$5", "-5", True),
        ("\u20135", "-5", True),
        ("\u0665", "5", False),
        ("\uff15", "5", False),
        ("9" * 5000, "9" * 5000, False),  # nobody asks for such a number
        ("1{,}500", "1500", True),
        ("\\frac{14}{5}", "2.8", True),
        ("\\frac{14}{5}", "\\frac{14}{3}", False),
        ("5%", "5", False),
        ("", "0", False),
    ],
)
def test_numbers_compare_as_numbers(a: str, b: str, same: bool) -> None:
    """Published graders take '1' for '10' and read '1,500' as 1."""
    assert is_match(a, b, "number") == same


@given(st.integers(-(10**9), 10**9), st.integers(0, 4))
def test_a_number_equals_itself_however_it_is_written(number: int, zeros: int) -> None:
    assert number_of(f"{number:,}") == number_of(str(number)) == number
    assert number_of(f"{number}.{'0' * (zeros + 1)}") == number
    assert number_of(f"{number:,}.5") != number


@pytest.mark.defect(30)
@pytest.mark.parametrize(
    ("text", "how", "answer"),
    [
        ("The answer is 3.5", "last-number", "3.5"),
        ("1,500 of 2,000", "last-number", "2,000"),
        ("none", "last-number", None),
        ("The answer is \u22125.", "last-number", "-5"),
        ("It is 1/2", "last-number", "1/2"),
        ("1.5e3", "last-number", "1.5e3"),
        ("$1,500.", "last-number", "1,500"),
        ("so x=7", "last-number", "7"),
        ("4 of CO2", "last-number", "4"),
        ("4 is 2^10", "last-number", "4"),
        ("4 or 12,5000", "last-number", "4"),
        ("4 then 1500,000", "last-number", "4"),
        ("= -3", "last-number", "-3"),
        ("-$5", "last-number", "-5"),
        ("lost -\u20ac1,500.50.", "last-number", "-1,500.50"),
        ("\u2212\u00a35", "last-number", "-5"),
        ("\u20135", "last-number", "-5"),
        ("-US$5", "last-number", "-5"),
        ("-\u20b95 each", "last-number", "-5"),
        ("-$ 5", "last-number", "-5"),
        ("$-5", "last-number", "-5"),
        ("$-5$", "last-number", "-5"),
        ("10-$5", "last-number", "5"),
        ("- 5 apples", "last-number", "5"),
        ("costs $5", "last-number", "5"),
        ("1\u202f000", "last-number", "1,000"),
        ("4 or \u0665", "last-number", "4"),
        ("a\n b \n", "last-line", "b"),
        ("\\boxed{1} so \\boxed{\\frac{14}{5}}", "boxed", "\\frac{14}{5}"),
        ("\\boxed{\\frac{14}{5}", "boxed", None),
        ("<answer>1</answer> <answer> 2 </answer>", "tag", "2"),
        (" yes\n", "text", "yes"),
        ("  ", "text", None),
    ],
)
def test_answers_are_read_where_they_stand(text: str, how: str, answer: str | None) -> None:
    """The published pattern cuts a boxed fraction at its first brace, and '3.5' to '3'."""
    assert read_answer(text, how) == answer


def test_boxes_nest() -> None:
    assert last_boxed("x \\boxed{a{b{c}}d}") == "a{b{c}}d"


@pytest.mark.defect(30)
@pytest.mark.parametrize(
    ("wanted", "how", "text", "right"),
    [
        ("(3,4)", "exact", "(3,4)", True),
        ("(3,4)", "exact", "34", False),
        ("1", "exact", "10", False),
        ("10", "exact", "1", False),
        ("yes|yep", "regex", "yep", True),
        ("yes|yep", "regex", "yes, but", False),
    ],
)
def test_a_part_of_a_text_never_counts(wanted: str, how: str, text: str, right: bool) -> None:
    assert is_match(text, wanted, how) == right


def questions(folder: Path, *lines: object) -> str:
    file = folder / "questions.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return str(file)


def test_questions_from_a_file(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "2+2?"}]
    file = questions(
        tmp_path, {"prompt": "1+1=", "answer": 2}, "", {"prompt": chat, "answer": ["4", "four"], "id": "b"}
    )
    task = mdm.JSONLines(file, match="exact", length=8)
    items = task.items(None, 0)
    assert [item.name for item in items] == ["1", "b"]
    assert items[1].prompt == chat
    assert task.max_new_tokens == 8
    assert [task.grade(items[1], text).score for text in ("4", " four\n", "5", "")] == [1, 1, 0, 0]
    assert task.grade(items[0], "2") == mdm.Grade("2", 1.0)
    numbers = mdm.build("tasks", f"jsonl:{file},match=exact,read=last-number")
    assert numbers.grade(items[0], "I say 2") == mdm.Grade("2", 1.0)


@pytest.mark.parametrize(
    ("lines", "match", "message"),
    [
        (["{"], "exact", "line 1: this is not JSON text"),
        (["[1]"], "exact", 'line 1: a question has a "prompt" and an "answer"'),
        ([{"prompt": "a"}], "exact", "line 1: a question has"),
        ([{"prompt": " ", "answer": "1"}], "exact", "line 1: a prompt is a text or"),
        ([{"prompt": 3, "answer": "1"}], "exact", "line 1: a prompt is a text or"),
        ([{"prompt": "a", "answer": None}], "exact", "an answer is a text, a number or a list"),
        ([{"prompt": "a", "answer": ""}], "exact", "nothing could match the answer ''"),
        ([{"prompt": "a\ud800", "answer": "1"}], "exact", "not JSON text"),
        (["[" * 100_000], "exact", "not JSON text"),
        ([{"prompt": "a", "answer": []}], "exact", "the list of answers is empty"),
        ([{"prompt": "a", "answer": "x"}], "number", "line 1: 'x' is not a number"),
        ([{"prompt": "a", "answer": "("}], "regex", "is not a regular expression"),
        ([{"prompt": "a", "answer": "(" * 5000 + ")" * 5000}], "regex", "is not a regular expression"),
        ([{"prompt": "a", "answer": "a{99999999999999999999}"}], "regex", "is not a regular expression"),
        ([{"prompt": "a", "answer": "9" * 5000}], "number", "is not a number"),
        (['{"prompt": "a", "answer": ' + "9" * 5000 + "}"], "number", "not JSON text"),
        (['{"prompt": "a", "answer": 1e400}'], "number", "nothing could match"),
        ([{"prompt": "a", "answer": "x", "id": 7}, {"prompt": "a", "answer": "x", "id": "7"}], "exact", "same id"),
        ([""], "exact", "holds no question"),
    ],
)
def test_a_bad_question_is_refused_by_its_line(lines: list[object], match: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.JSONLines(questions(tmp_path, *lines), match=match).items(None, 0)  # type: ignore[arg-type]


def test_too_many_questions_are_refused(tmp_path: Path) -> None:
    task = mdm.JSONLines(questions(tmp_path, {"prompt": "a", "answer": "b"}))
    assert len(task.items(1, 0)) == 1
    with pytest.raises(mdm.SpecError, match="2 questions were asked for"):
        task.items(2, 0)


# --- reasoning-gym ------------------------------------------------------------------------------------------------


def test_a_reasoning_gym_task_is_graded_by_its_own_scorer() -> None:
    gym = pytest.importorskip("reasoning_gym")
    task = mdm.build("tasks", "reasoning-gym:mini_sudoku")
    items = task.items(3, 7)
    dataset = gym.create_dataset("mini_sudoku", size=3, seed=7)
    for item, entry in zip(items, dataset, strict=True):
        assert item.prompt == entry["question"]
        assert task.grade(item, entry["answer"]).score == 1
        assert task.grade(item, "no").score == dataset.score_answer("no", entry) < 1
    assert [i.prompt for i in task.items(2, 7)] == [i.prompt for i in items[:2]]
    assert {i.name for i in items}.isdisjoint(i.name for i in task.items(3, 8))


def test_an_unknown_reasoning_gym_task_is_refused() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(mdm.SpecError, match="no_such_task"):
        mdm.ReasoningGym("no_such_task").items(1, 0)


def test_without_reasoning_gym_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(mdm.SpecError, match=r"pip install \"mdm-sampling\[reasoning-gym\]\""):
        mdm.ReasoningGym("mini_sudoku")


def test_a_wider_countdown_has_room_for_its_longest_answer() -> None:
    longest = "999-999=999,999-999=999,999-999=999"
    assert mdm.Countdown(4, largest=999, limit=999).max_new_tokens > len(longest)
    assert mdm.Countdown(4, largest=9, limit=999).max_new_tokens > len(longest)
    problems = [random_problem(3, 50, 999, Random(seed)) for seed in range(300)]
    room = mdm.Countdown(3, largest=50, limit=999).max_new_tokens
    assert max(len(problem.derivation) for problem in problems) < room


@pytest.mark.parametrize("task", [mdm.Sudoku(), mdm.Countdown()])
def test_no_items_are_no_items(task: mdm.Task) -> None:
    assert list(task.items(0, 0)) == []


@pytest.mark.parametrize("spec", ["sudoku:4", "sudoku:9,form=prompt", "countdown", "reasoning-gym:mini_sudoku"])
def test_no_more_items_are_made_than_anybody_waits_for(spec: str) -> None:
    if spec.startswith("reasoning"):
        pytest.importorskip("reasoning_gym")
    for count in (2_000_000_000, 10**30):
        with pytest.raises(mdm.SpecError, match="at most 100,000 items can be made"):
            mdm.build("tasks", spec).items(count, 0)


def test_a_regular_expression_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdm_sampling.tasks.jsonl.SECONDS", 0.1)
    with pytest.raises(mdm.SpecError, match="without repeats inside of repeats"):
        is_match("a" * 200 + "b", r"(a|a|aa)+$", "regex")


def test_an_answer_of_any_length_is_graded(tmp_path: Path) -> None:
    task = mdm.JSONLines(questions(tmp_path, {"prompt": "a", "answer": 5}), match="number", read="last-number")
    assert task.grade(task.items(None, 0)[0], "9" * 100_000).score == 0


@pytest.mark.defect(31)
def test_every_task_that_is_offered_grades_its_items(tmp_path: Path) -> None:
    specs = {
        "sudoku": "sudoku",
        "countdown": "countdown",
        "jsonl": f"jsonl:{questions(tmp_path, {'prompt': '1+1=', 'answer': 2})}",
        "reasoning-gym": "reasoning-gym:mini_sudoku",
    }
    assert set(specs) == {claim.name for claim in registry().kind("tasks") if claim.distribution == "mdm-sampling"}
    for spec in specs.values():
        task = mdm.build("tasks", spec)
        (item,) = task.items(1, 0)
        assert 0 <= task.grade(item, "no answer").score < 1
