"""PC-Sampler against a plain implementation of its score, and the command that counts a corpus."""

import json
import math
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import mdm_pc_sampler
import pytest
import torch
from click.testing import CliRunner, Result
from mdm_pc_sampler import Frequencies, PCSampler, pc_frequencies, surprisals
from torch import Tensor

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner

VOCAB, MASK = 9, 8
ROWS = [
    ([1, 2], [MASK] * 9),
    ([3], [MASK, 5, MASK, MASK, MASK]),
    ([4, 0, 6, 2, 7], [MASK] * 4 + [1, 2] + [MASK] * 6),
]
COUNTS = {0: 40, 1: 7, 3: 1, 4: 230, 5: 0, 7: 22}
TOTAL = 300


class Toy:
    """Logits of a position from its token, its position and the mean of its row, in float64."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embed, self.position, self.out = (
            torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((VOCAB, 8), (32, 8), (8, VOCAB))
        )
        self.backend = mdm.wrap(self.batch, MASK, VOCAB, takes_attention_mask=True)

    def row(self, tokens: Tensor) -> Tensor:
        """[t] -> [t v]"""
        x = torch.tanh(self.embed[tokens] + self.position[: len(tokens)])
        return torch.tanh(x + 2 * x.mean(0)) @ self.out * 2

    def batch(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, VOCAB, dtype=torch.float64)
        for i, valid in enumerate(attention_mask):
            logits[i, valid] = self.row(tokens[i, valid])
        return logits


def naive(toy: Toy, prefix: list[int], body: list[int], block: int, planner: PCSampler, k: int) -> list[dict[int, int]]:
    """The paper's procedure for one row: its moves, {position: token}."""
    canvas, moves = prefix + body, []
    for first in range(0, len(body), block):
        while True:
            masked = [i for i in range(first, min(first + block, len(body))) if canvas[len(prefix) + i] == MASK]
            if not masked:
                break
            logits = toy.row(torch.tensor(canvas)).tolist()
            score, tokens = {}, {}
            for i in masked:
                weights = [math.exp(x) for x in logits[len(prefix) + i][:MASK]]
                tokens[i] = weights.index(max(weights))
                p = max(weights) / sum(weights)
                f = (COUNTS.get(tokens[i]) or 1) / TOTAL
                score[i] = math.exp(-planner.decay * i) * min(-p * math.log(f), planner.alpha)
            chosen = sorted(masked, key=lambda i: -score[i])[:k]
            moves.append({i: tokens[i] for i in sorted(chosen)})
            for i, token in moves[-1].items():
                canvas[len(prefix) + i] = token
    return moves


def moves_of(sampler: mdm.Sampler, rows: list[tuple[list[int], list[int]]]) -> list[list[dict[int, int]]]:
    """What a sampler filled in each row at each of its steps."""
    canvas = sampler.canvas(rows)
    moves: list[list[dict[int, int]]] = [[] for _ in rows]
    for record in sampler.iterate(canvas):
        first = record.block.start - canvas.start
        for i, row in enumerate(record.rows.tolist()):
            positions = record.unmask[i].nonzero()[:, 0].tolist()
            moves[row].append({first + position: int(record.tokens[i, position]) for position in positions})
    return moves


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A frequency file for the toys."""
    path = tmp_path / "toy.json"
    Frequencies("toy", VOCAB, COUNTS, TOTAL).write(path)
    return str(path)


def test_it_conforms(tmp_path: Path) -> None:
    """The kit's smallest model has two tokens."""
    path = tmp_path / "small.json"
    Frequencies("small", 2, {0: 60, 1: 3}, 100).write(path)
    check_planner(PCSampler(str(path)), examples=30)
    check_planner(PCSampler(str(path), decay=0.0, alpha=0.5), examples=20)


@pytest.mark.parametrize(("decay", "alpha"), [(0.25, 10.0), (0.0, 10.0), (1.5, 10.0), (0.1, 1.3)])
def test_it_fills_what_a_plain_implementation_fills(file: str, decay: float, alpha: float) -> None:
    planner = PCSampler(file, decay, alpha)
    for seed in range(4):
        toy = Toy(seed)
        for block, k in ((12, 1), (12, 3), (5, 2)):
            sampler = mdm.Sampler(
                toy.backend, planner, mdm.NoCache(), schedule=mdm.Constant(k), block_size=block, steps=10**6
            )
            assert moves_of(sampler, ROWS) == [naive(toy, *row, block, planner, k) for row in ROWS]


def test_decay_and_rarity_matter(file: str) -> None:
    sampler = mdm.Sampler(Toy(0).backend, PCSampler(file), schedule=mdm.Constant(1), steps=1000)
    moves = moves_of(sampler, ROWS)
    for other in (PCSampler(file, decay=0.0), PCSampler(file, alpha=0.3), mdm.Confidence()):
        assert moves_of(replace(sampler, planner=other), ROWS) != moves
    leftmost = moves_of(replace(sampler, planner=PCSampler(file, decay=50.0)), ROWS)
    assert leftmost == moves_of(replace(sampler, planner=mdm.LeftToRight()), ROWS)


def test_far_from_the_start_positions_are_still_told_apart(file: str) -> None:
    """exp(-5 i) is 0 in double precision from the 150th position on; the order must not be lost with it."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(400, VOCAB, generator=generator, dtype=torch.float64)
    backend = mdm.wrap(lambda tokens: table.expand(len(tokens), 400, VOCAB).clone(), MASK, VOCAB)
    sampler = mdm.Sampler(
        backend, PCSampler(file, 5.0), mdm.NoCache(), schedule=mdm.Constant(80), block_size=400, steps=1000
    )
    first = moves_of(sampler, [([], [MASK] * 400)])[0]
    assert [(min(move), max(move)) for move in first] == [(80 * i, 80 * i + 79) for i in range(5)]


def test_tokens_that_the_corpus_lacks_count_as_seen_once(file: str) -> None:
    found = surprisals(file, VOCAB, torch.device("cpu"))
    expected = [-math.log((COUNTS.get(token) or 1) / TOTAL) for token in range(VOCAB)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_file_is_read_once_until_it_changes(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = Frequencies.read
    monkeypatch.setattr(Frequencies, "read", lambda path: reads.append(path) or read(path))
    first = surprisals(file, VOCAB, torch.device("cpu"))
    assert surprisals(file, VOCAB, torch.device("cpu")) is first
    Frequencies("toy", VOCAB, {0: 1}, 1000).write(mdm.Output(file, overwrite=True))
    os.utime(file, ns=(1, 1))
    assert not torch.equal(surprisals(file, VOCAB, torch.device("cpu")), first)
    assert len(reads) == 2


def test_it_is_a_value_and_reads_nothing_before_it_plans(tmp_path: Path) -> None:
    planner = PCSampler(str(tmp_path / "later.json"), 0.5)
    assert pickle.loads(pickle.dumps(planner)) == planner
    assert hash(planner) == hash(replace(planner))
    assert mdm.build("planners", mdm.describe(planner)) == planner
    assert mdm.build("planners", "pc:a.json") == PCSampler("a.json")
    with pytest.raises(mdm.SpecError, match="pc: needs frequencies"):
        mdm.build("planners", "pc")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pc:a.json,decay=-1", "decay must be finite and 0 or more, got -1"),
        ("pc:a.json,decay=inf", "decay must be finite and 0 or more, got inf"),
        ("pc:a.json,alpha=0", "alpha must be finite and above 0, got 0"),
        ("pc:a.json,alpha=nan", "alpha must be a number"),
    ],
)
def test_bad_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("planners", spec)
    with pytest.raises(mdm.SpecError, match="frequencies must be the name of a file, got ''"):
        PCSampler("")
    with pytest.raises(mdm.SpecError, match="decay must be a number, got nan"):
        PCSampler("a.json", decay=math.nan)


GOOD: dict[str, Any] = {"tokenizer": "toy", "total": 10, "vocab_size": 9, "counts": {"0": 4, "7": 6}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory; `mdm-sampling pc-frequencies` makes one"),
        ("{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        ([1], "is not a frequency file, it lacks counts, tokenizer, total, vocab_size"),
        ({"num_token": 3, "p_baseline_dict": {}}, "is not a frequency file, it lacks counts"),
        (GOOD | {"counts": {"0": -1}}, r"says counts\[0\]=-1, expected a whole number of at least 0"),
        (GOOD | {"counts": {"0": 0.5}}, r"says counts\[0\]=0.5, expected a whole number"),
        (GOOD | {"counts": {"the": 1}}, "counts 'the', which is not a token id"),
        (GOOD | {"counts": {"07": 1}}, "counts '07', which is not a token id"),
        (GOOD | {"counts": {"9" * 5000: 1}}, "counts '9+, which is not a token id"),
        (GOOD | {"counts": {"-1": 1}}, "counts '-1', which is not a token id"),
        (GOOD | {"counts": [1, 2]}, r"says counts=\[1, 2\], expected an object"),
        (GOOD | {"counts": {"9": 1}}, "counts token 9, but says vocab_size=9"),
        (GOOD | {"total": 0}, "says total=0, expected a whole number of at least 1"),
        (GOOD | {"total": 9}, "says total=9, but its counts add up to 10"),
        (GOOD | {"total": True}, "says total=True"),
        (GOOD | {"vocab_size": "9"}, "says vocab_size='9'"),
        (GOOD | {"vocab_size": 20, "counts": {"9": 1}}, "counts token 9, but the model has only 9 tokens; .* of toy"),
    ],
)
def test_a_bad_frequency_file_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    sampler = mdm.Sampler(Toy(0).backend, PCSampler(str(path)), steps=2)
    with pytest.raises(mdm.SpecError, match=f"pc: .*{message}"):
        sampler.fill([([1], [MASK, MASK])])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(pc_frequencies, [str(argument) for argument in arguments])


def test_the_command_counts_a_corpus_end_to_end(tmp_path: Path) -> None:
    """With the tokenizer of the embedded model, which knows digits and signs and nothing else."""
    text, lines, output = tmp_path / "a.txt", tmp_path / "b.jsonl", tmp_path / "counts.json"
    text.write_text("\n12 + 1 = 13\n\n\nabc\n2", encoding="utf-8")
    lines.write_text('{"body": "7\\ud800", "n": 1}\n\n{"body": "71"}\n', encoding="utf-8")
    result = run("embedded", text, lines, "-o", output, "--field", "body")
    assert result.exit_code == 0, result.output
    tokenizer = mdm.load_tokenizer("embedded")
    ids = tokenizer.convert_tokens_to_ids
    expected = {ids(c): n for c, n in {"1": 4, "2": 2, "3": 1, "7": 2, "+": 1, "=": 1, " ": 4, "\n": 5}.items()}
    assert json.loads(output.read_text()) == {
        "tokenizer": "embedded",
        "total": 20,
        "vocab_size": len(tokenizer),
        "counts": {str(token): expected[token] for token in sorted(expected)},
    }
    assert "20 tokens, 8 of the 27 that there are" in result.stdout
    assert "4 more that the tokenizer does not know were skipped" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.jsonl", "counts.json"]

    sampler = mdm.load(max_new_tokens=20, steps=20)
    sampler = replace(sampler, planner=mdm.build("planners", f"pc:{output},decay=0"))
    solved = sampler.generate("1... ..3. .1.. ...4").texts[0].split()
    assert [len(row) for row in solved] == [4] * 4


def test_an_existing_output_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, output = tmp_path / "a.txt", tmp_path / "counts.json"
    corpus.write_text("1", encoding="utf-8")
    output.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    result = run("embedded", corpus, "-o", output, "--overwrite")
    assert result.exit_code == 1
    assert f"cannot write {output}: No space left on device" in result.output
    assert output.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.undo()
    assert run("embedded", corpus, "-o", output, "--overwrite").exit_code == 0
    assert Frequencies.read(str(output)).total == 1


def test_no_file_is_written_over(tmp_path: Path) -> None:
    corpus, output = tmp_path / "a.txt", tmp_path / "counts.json"
    corpus.write_text("1", encoding="utf-8")
    output.write_text("mine", encoding="utf-8")
    result = run("embedded", corpus, "-o", output)
    assert (result.exit_code, output.read_text()) == (1, "mine")
    assert "is not overwritten" in result.output
    output.unlink()
    assert run("embedded", corpus, "-o", output).exit_code == 0
    assert run("embedded", corpus, "-o", output).exit_code == 1
    assert Frequencies.read(str(output)).total == 1


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "a.txt"
    corpus.write_text("1\n" * 2500, encoding="utf-8")
    monkeypatch.setattr(mdm_pc_sampler, "SECONDS", -1.0)
    result = run("embedded", corpus, "-o", tmp_path / "counts.json")
    assert "1,000 lines, 2,000 tokens\n2,000 lines, 4,000 tokens\n" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embedded", "missing.txt", "-o", "out.json"], "there is no file 'missing.txt'"),
        (["embedded", "blank.txt", "-o", "out.json"], "the corpus holds no text that the model's tokenizer knows"),
        (["embedded", "words.txt", "-o", "out.json"], "the corpus holds no text that the model's tokenizer knows"),
        (["embedded", "latin.txt", "-o", "out.json"], "latin.txt is not UTF-8 text"),
        (["embedded", "bad.jsonl", "-o", "out.json"], "bad.jsonl, line 2: not valid JSON"),
        (["embedded", "good.jsonl", "-o", "out.json"], "line 1: there is no text 'text' (it has body); choose with"),
        (["embedded", "list.jsonl", "-o", "out.json"], "line 1: there is no text 'text' (it has no fields)"),
        (["embedded", "good.txt", "-o", "nowhere/out.json"], "nowhere to write out.json into"),
        (["embedded", "good.txt", "-o", "good.txt"], "good.txt is read by the same call"),
        (["./nothing", "good.txt", "-o", "out.json"], "'./nothing' is not a folder, a hub repository"),
        (["owner/nothing", "good.txt", "-o", "out.json"], "as a hub repository it cannot be read"),
        (["bare", "good.txt", "-o", "out.json"], "bare: the checkpoint has no tokenizer"),
        (["half", "good.txt", "-o", "out.json"], "half: the tokenizer lacks merges.txt"),
        (["broken", "good.txt", "-o", "out.json"], "broken: the tokenizer cannot be read"),
        (["embedded", "-o", "out.json"], "Missing argument 'CORPUS...'"),
        (["embedded", "good.txt"], "Missing option '-o'"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_errors_of_the_command(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, content in {
        "good.txt": b"1 2",
        "blank.txt": b"\n\n \n",
        "words.txt": b"abc",
        "latin.txt": b"\xe9t\xe9",
        "good.jsonl": b'{"body": "1"}',
        "bad.jsonl": b'{"text": "1"}\n{"text":',
        "list.jsonl": b"[1]",
    }.items():
        Path(name).write_bytes(content)
    for folder, files in {
        "bare": {},
        "half": {"vocab.json": "{}"},
        "broken": {"tokenizer.json": "{"},
    }.items():
        Path(folder).mkdir()
        for name, text in ({"config.json": "{}"} | files).items():
            Path(folder, name).write_text(text, encoding="utf-8")
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not Path("out.json").exists()


def test_a_folder_with_a_vocabulary_and_merges_is_read_as_qwen2(tmp_path: Path) -> None:
    """Dream's folders hold no tokenizer.json."""
    (tmp_path / "config.json").write_text('{"model_type": "Dream"}', encoding="utf-8")
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2, "\\u010a": 3}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    corpus, output = tmp_path / "a.txt", tmp_path / "counts.json"
    corpus.write_text("ab\nb\n", encoding="utf-8")
    result = run(tmp_path, corpus, "-o", output)
    assert result.exit_code == 0, result.output
    assert Frequencies.read(str(output)).counts == {1: 1, 2: 1, 3: 2}
