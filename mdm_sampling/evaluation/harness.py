"""A sampler as a model of lm-evaluation-harness, which knows it as `mdm-sampling` once this module is imported.

The harness (extra `lm-eval`) brings the tasks, prompts, metrics and files. The answers are the sampler's, and the
likelihoods those of `likelihood`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import register_model

from ..backends.chat import messages_of, render
from ..canvas import Row
from ..device_faults import is_out_of_memory
from ..errors import CanvasError, SpecError, require
from ..fields import is_whole
from ..folders.lines import Key, Line, LineFormat, digest
from ..folders.store import Store
from ..history import RowCost
from ..jobs.batches import BatchSize, EncodedRow, check_batch_size, most_rows, plan
from ..jobs.engine import Engine, LocalEngine
from ..jobs.resume import ShowProgress, decode_missing, no_progress
from ..jobs.worker import Variant, Worker, free_memory
from ..registry.specs import NOT_REGISTERED, Spec, describe
from ..sampler import Sampler
from ..token_samplers import Greedy, TokenSampler
from .arguments import Generation, read_generation, read_model_args
from .likelihood import Estimate, Pair, check_pairs, greedy_checks, log_likelihoods
from .seeds import answer_seed

NAME = "mdm-sampling"

COSTS = [each.name for each in fields(RowCost)]
ANSWERS = LineFormat(
    kind="set of answers",
    key=("digest", "seed", "settings"),
    required=("item", "digest", "seed", "settings", "spec", "machine"),
    decoded=("text", "tokens", *COSTS),
)
LIKELIHOODS = LineFormat(
    kind="set of likelihoods",
    key=("digest", "seed", "samples"),
    required=("item", "digest", "seed", "samples", "log_likelihood", "standard_error", "forwards", "matches"),
    decoded=("greedy_forwards",),
)
SCORED_AT_ONCE = 256
"""Pairs whose likelihoods are computed, and kept, together."""

CACHE_OWNER = "mdm-sampling: whose answers these are"
"""The key under which a cache of the harness says which sampler, seed and weights its answers come from."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@register_model(NAME)
class HarnessModel(LM):  # type: ignore[misc]
    """Answers the harness's requests with a sampler.

    An answer depends on what is asked and on the seed, not on other requests, their order or the batch size.

    Args:
        sampler: its backend needs a tokenizer. One that draws tokens does so even where a task asks for greedy ones;
            a greedy one draws them where a task asks for that.
        max_new_tokens: positions of every answer, whatever the tasks say; None for what a task says, and the sampler's
            own where it says nothing.
        samples: masks drawn for a log-likelihood.
        seed: of the masks, and with its prompt of every row, see `answer_seed`; the k-th repetition of a request,
            counted from 0, has seed + k.
        batch_size: rows decoded together, and rows of a forward that scores; "auto" for as many as fit into memory,
            found by halving.
        engine: where answers are decoded; None for this process. Likelihoods are computed in this process.
        folder: keeps each answer and likelihood as soon as it is there, so that what was asked before is not computed
            again, if the sampler can be told from others; None keeps nothing.
        progress: called with what is counted.

    Attributes:
        notes: what tasks asked for and did not get, a sentence each.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        max_new_tokens: int | None = None,
        samples: int = 128,
        seed: int = 0,
        batch_size: BatchSize = 8,
        engine: Engine | None = None,
        folder: Path | None = None,
        progress: ShowProgress = no_progress,
    ) -> None:
        super().__init__()
        if sampler.backend.codec is None:
            raise CanvasError("this model has no tokenizer, so it cannot be evaluated on texts")
        self.sampler = sampler if max_new_tokens is None else replace(sampler, max_new_tokens=max_new_tokens)
        require(is_whole(samples) and samples >= 1, f"samples must be a whole number of at least 1, got {samples!r}")
        check_batch_size(batch_size)
        require(is_whole(seed), f"seed must be a whole number, got {seed!r:.40}")
        self.codec = sampler.backend.codec
        added = getattr(self.codec.tokenizer, "added_tokens_decoder", {})
        self.special = {token.content: number for number, token in added.items() if token.special}
        self.max_new_tokens = max_new_tokens
        self.samples = samples
        self.seed = seed
        self.batch_size = batch_size
        self.scored_together = most_rows(batch_size)
        self.engine = engine or LocalEngine()
        self.folder = folder
        self.progress = progress
        self.notes: list[str] = []
        self.rows: list[RowCost] = []
        self.estimates: list[Estimate] = []
        self.greedy_forwards = 0

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> HarnessModel:
        """Load the model and the parts that `--model_args` names, see `read_model_args`.

        Args:
            arg_dict: the arguments; the harness's usual `pretrained` is a synonym of `model`.
            additional_config: the harness's own --batch_size and --device, where the arguments don't say. A cuda
                device, which is the harness's default, is not taken where there is none.
        """
        given = {name: value for name, value in (additional_config or {}).items() if value is not None}
        on_cuda = str(given.get("device", "")).startswith("cuda")
        if "device_map" in arg_dict or (on_cuda and not torch.cuda.is_available()):
            given.pop("device", None)
        given |= {"model" if name == "pretrained" else name: value for name, value in arg_dict.items()}
        sampler, own = read_model_args(given)
        from ..cli.progress import progress  # it is a command that loads a model by name, the harness's own

        return cls(sampler, progress=progress, **own)  # type: ignore[arg-type]  # numbers, by name

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> HarnessModel:
        """The same for arguments in one text, `name=value,name=value`."""
        given = Spec.parse(f"{NAME}:{arg_string}").given if arg_string.strip() else {}
        return cls.create_from_arg_obj(given, additional_config)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers, each up to its first end token or stop string; a canvas is always decoded to its end."""
        if not requests:
            return []
        asked = [self._generation(request) for request in requests]
        seeds = self._seeds(requests)
        rows = [self._row(i, request, asked[i]) for i, request in enumerate(requests)]
        self.sampler.check(rows)
        token_samplers = [self._token_sampler(each) for each in asked]
        distinct = list(dict.fromkeys(token_samplers))
        worker = Worker(
            [Variant(replace(self.sampler, token_sampler=each), until_eos=False) for each in distinct],
            splits=self.batch_size == "auto",
        )
        encoded: dict[Key, tuple[EncodedRow, int]] = {}
        keys: list[Key] = []
        for i, request in enumerate(requests):
            identity = {"item": _item_of(request, i), "digest": digest(rows[i]), "seed": seeds[i]}
            row, variant = EncodedRow(rows[i], seeds[i], identity), distinct.index(token_samplers[i])
            keys.append(ANSWERS.key_of(worker.identity(row, variant)))
            encoded[keys[i]] = row, variant  # equal requests are decoded once
        batches = []
        for variant in range(len(distinct)):
            mine = [row for row, decoded_by in encoded.values() if decoded_by == variant]
            batches += plan(mine, self.batch_size, variant=variant)

        def answer(line: Line, i: int) -> str:
            return self._text(line["tokens"], asked[i].until)

        def finish(lines: list[Line]) -> list[Line]:
            kept = [_without_prompt(line, encoded[ANSWERS.key_of(line)][0].row) for line in lines]
            for line in kept:
                for i in asking[ANSWERS.key_of(line)]:
                    self.cache_hook.add_partial("generate_until", requests[i].args, answer(line, i))
            return kept

        asking = _numbers_by_key(keys)
        show = no_progress if disable_tqdm else self.progress
        with self._store(ANSWERS, spec=self.sampler.spec()) as store, show("answers") as progress:
            held = decode_missing(store, self.engine, worker, batches, finish=finish, progress=progress).lines
        self.rows += [RowCost(**{name: line[name] for name in COSTS}) for line in held.values()]
        return [answer(held[key], i) for i, key in enumerate(keys)]

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations, and whether greedy decoding would give them; see `likelihood`."""
        _refuse_blank(requests)
        pairs = [self._pair(*request.args) for request in requests]
        answers: dict[int, tuple[float, bool]] = {}
        for i, line in self._scored(requests, pairs, checks=True, shows=not disable_tqdm):
            answers[i] = (line["log_likelihood"], line["matches"])
            self.cache_hook.add_partial("loglikelihood", requests[i].args, answers[i])
        return [answers[i] for i in range(len(pairs))]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihoods of whole texts. One that exceeds the model's context is cut into windows, each on its own."""
        start, limit = self._ids(""), self.sampler.backend.max_length
        owners: list[int] = []
        pairs: list[Pair] = []
        for i, request in enumerate(requests):
            ids = self.codec.ids(request.args[0], special=False)
            size = max(1, len(ids) if limit is None else limit - len(start))
            pairs += [(start, window) for window in slices(ids, size)]
            owners += [i] * (len(pairs) - len(owners))
        whole = [requests[i] for i in owners]
        found = dict(self._scored(whole, pairs, checks=False, shows=not disable_tqdm))
        totals = [0.0] * len(requests)
        for number, i in enumerate(owners):
            totals[i] += found[number]["log_likelihood"]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a conversation; without a generation prompt its last message is left open."""
        if not self.codec.has_chat_template:
            raise CanvasError("this model has no chat template; evaluate it without")
        return render(self.codec.tokenizer, messages_of(chat_history), begun=not add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template itself, for the harness's records."""
        return str(getattr(self.codec.tokenizer, "chat_template", None) or "") if chat_template else ""

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Take the harness's cache (`--use_cache`), whose own key is the prompt alone, if it is of this very sampler.

        Raises `SpecError` for one with answers of another sampler, seed or weights, which it would take for ours, and
        for a sampler that cannot be told from others.
        """
        if cache_hook.dbdict is not None:
            check_cache(cache_hook.dbdict, self.identity())
        super().set_cache_hook(cache_hook)

    def identity(self) -> str:
        """What the answers depend on but for the prompt, as text."""
        settings = self.settings() | {"weights": self.sampler.backend.fingerprint()}
        text = json.dumps({name: value for name, value in settings.items() if name != "batch_size"}, sort_keys=True)
        if settings["weights"] is None or NOT_REGISTERED in text:
            raise SpecError(
                "--use_cache: this sampler cannot be told from others by its spec and weights; leave it out"
            )
        return text

    @property
    def tokenizer_name(self) -> str:
        """Tells this model's prompts from another's in the harness's cache of requests."""
        source = self.sampler.backend.source
        return "in-memory" if source is None else source.model.replace("/", "__")

    def get_model_info(self) -> dict[str, Any]:
        """What the harness's results file says of the model."""
        return {"mdm_sampling": self.settings()}

    def settings(self) -> dict[str, Any]:
        """What gives the same answers again, as JSON-able values."""
        return {
            "spec": self.sampler.spec(),
            "max_new_tokens": self.max_new_tokens,
            "samples": self.samples,
            "seed": self.seed,
            "batch_size": self.batch_size,
        }

    def costs(self) -> dict[str, Any]:
        """What all requests so far took, and how sure the answers are, as JSON-able values."""
        errors = [estimate.error for estimate in self.estimates if estimate.error == estimate.error]
        return {
            "generated": {
                "rows": len(self.rows),
                "row_forwards": sum(row.forwards for row in self.rows),
                "token_forwards": sum(row.token_forwards for row in self.rows),
                "sequential_forwards": sum(row.sequential_forwards for row in self.rows),
                "mean_cumulative_entropy": fmean(row.cumulative_entropy for row in self.rows) if self.rows else None,
            },
            "scored": {
                "texts": len(self.estimates),
                "row_forwards": sum(estimate.forwards for estimate in self.estimates) + self.greedy_forwards,
                "mean_standard_error": fmean(errors) if errors else None,
            },
        }

    def _store(self, line_format: LineFormat, **manifest: Any) -> Store:
        """What was computed before by a model with the same weights; in memory if nobody could tell that it is so."""
        weights = self.sampler.backend.fingerprint()
        manifest |= {"weights": weights}
        if self.folder is None or weights is None or NOT_REGISTERED in json.dumps(manifest):
            return Store(None, manifest, line_format)
        name = f"{line_format.kind.rpartition(' ')[2]}-{digest(manifest)}"
        return Store(self.folder / name, manifest, line_format)

    def _scored(
        self, requests: Sequence[Instance], pairs: Sequence[Pair], *, checks: bool, shows: bool
    ) -> Iterator[tuple[int, Line]]:
        """The line of each pair, with its number, as soon as it is there.

        Args:
            requests: which each pair is of.
            checks: whether to decode greedily as well.
        """
        if not pairs:
            return
        check_pairs(self.sampler.backend, pairs, self.scored_together)
        names = [
            {
                "item": _item_of(request, i),
                "digest": digest([checks, *pair]),
                "seed": self.seed,
                "samples": self.samples,
            }
            for i, (request, pair) in enumerate(zip(requests, pairs, strict=True))
        ]
        asking = _numbers_by_key([LIKELIHOODS.key_of(name) for name in names])
        show = self.progress if shows else no_progress
        with self._store(LIKELIHOODS, backend=self.sampler.spec()["backend"]) as store, show("texts") as progress:
            done = [line for line in store.lines if LIKELIHOODS.key_of(line) in asking]
            held = {LIKELIHOODS.key_of(line) for line in done}
            missing = [numbers[0] for key, numbers in asking.items() if key not in held]
            progress(len(done), len(asking))
            yield from self._told(done, asking)
            for part in slices(missing, SCORED_AT_ONCE):
                computed = self._lines([pairs[i] for i in part], checks)
                lines = [names[i] | line for i, line in zip(part, computed, strict=True)]
                store.add(lines)
                done += lines
                progress(len(done), len(asking))
                yield from self._told(lines, asking)

    def _told(self, lines: Sequence[Line], asking: Mapping[Key, list[int]]) -> Iterator[tuple[int, Line]]:
        """Each line with the numbers of the pairs that it is of; its cost is counted once."""
        for line in lines:
            self.estimates.append(Estimate(line["log_likelihood"], line["standard_error"], line["forwards"]))
            self.greedy_forwards += line["greedy_forwards"]
            for i in asking[LIKELIHOODS.key_of(line)]:
                yield i, line

    def _lines(self, pairs: Sequence[Pair], checks: bool) -> list[Line]:
        """What is computed of each pair."""
        backend = self.sampler.backend
        found = self._fitting(
            lambda size: log_likelihoods(backend, pairs, samples=self.samples, seed=self.seed, batch_size=size)
        )
        greedy = self._fitting(lambda size: greedy_checks(backend, pairs, batch_size=size)) if checks else None
        return [
            {
                "log_likelihood": each.log_likelihood,
                "standard_error": each.error,
                "forwards": each.forwards,
                "matches": None if greedy is None else greedy[i].matches,
                "greedy_forwards": 0 if greedy is None else greedy[i].forwards,
            }
            for i, each in enumerate(found)
        ]

    def _fitting(self, compute: Callable[[int], T]) -> T:
        """What is computed with as many rows in a forward as fit into memory, if the batch size is "auto"."""
        while True:
            try:
                return compute(self.scored_together)
            except (RuntimeError, MemoryError) as error:
                if self.batch_size != "auto" or self.scored_together == 1 or not is_out_of_memory(error):
                    raise
            free_memory()  # here, where the error and what it holds is gone
            self.scored_together //= 2

    def _length(self, asked: Generation) -> int:
        """Positions of an answer: those given, else the task's, else the sampler's own."""
        if self.max_new_tokens is None:
            return self.sampler.max_new_tokens if asked.length is None else asked.length
        if asked.length not in (None, self.max_new_tokens):
            self._note(f"a task asks for answers of {asked.length} positions and gets {self.max_new_tokens}")
        return self.max_new_tokens

    def _token_sampler(self, asked: Generation) -> TokenSampler:
        """The sampler's own if it draws tokens, else the task's."""
        own = self.sampler.token_sampler
        if own in (Greedy(), asked.token_sampler):
            return asked.token_sampler
        wish = describe(asked.token_sampler)
        self._note(f"a task asks for the token sampler {wish} and gets {self.sampler.spec()['token_sampler']}")
        return own

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            log.warning(text)

    def _generation(self, request: Instance) -> Generation:
        try:
            return read_generation(request.args[1])
        except SpecError as error:
            raise SpecError(f"{place_of(request)}{error}") from error

    def _row(self, number: int, request: Instance, asked: Generation) -> Row:
        """A prompt and the masks of its answer, of which no more are made than the context holds."""
        backend, prefix, length = self.sampler.backend, self._ids(request.args[0]), self._length(asked)
        limit = backend.max_length
        if limit is not None and len(prefix) + length > limit:
            where = place_of(request) or f"row {number}: "
            raise CanvasError(
                f"{where}a prompt of {len(prefix)} tokens and {length} positions after it exceed the model's context "
                f"of {limit}; shorten one of them"
            )
        return Row(prefix, [backend.mask_id] * length)

    def _seeds(self, requests: Sequence[Instance]) -> list[int]:
        """A seed for each request. The harness repeats a request by listing it again; its repeats are other samples.

        Raises `SpecError` for repeats that the harness's cache would answer with one sample.
        """
        times: Counter[int] = Counter()
        seeds = []
        for request in requests:
            repeat = times[id(request)]
            if repeat and self.cache_hook.dbdict is not None and not request.args[1].get("do_sample"):
                raise SpecError(f"{place_of(request)}it repeats requests, and --use_cache keeps one answer of each")
            seeds.append(answer_seed(request.args[0], self.seed, repeat))
            times[id(request)] += 1
        return seeds

    def _ids(self, text: str) -> list[int]:
        """Token ids of a prompt. One that begins with a special token, as a chat does, gets no further ones."""
        ids = self.codec.ids(text, special=False)
        return ids if ids and ids[0] in self.special.values() else self.codec.ids(text, special=True)

    def _pair(self, context: str, continuation: str) -> Pair:
        """Token ids of a context and its continuation, to which the context's last spaces belong, as in the harness.

        They are read as one text. Where that would merge tokens across the seam, the continuation is read by itself.
        """
        end = len(context.rstrip())
        context, continuation = context[:end], context[end:] + continuation
        own = self.codec.ids(context, special=False)
        whole = self.codec.ids(context + continuation, special=False)
        rest = whole[len(own) :] if whole[: len(own)] == own else self.codec.ids(continuation, special=False)
        return self._ids(context), rest

    def _text(self, body: Sequence[int], until: Sequence[str]) -> str:
        """The text of a body up to its first end token or stop string; a stop string may be a special token."""
        stops = {self.special[stop] for stop in until if stop in self.special}
        end = next((position for position, token in enumerate(body) if token in stops), len(body))
        text = self.codec.decode(body[:end])
        return text[: min((text.find(stop) for stop in until if stop in text), default=len(text))]


def _numbers_by_key(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """The numbers of the requests that ask for the same thing, by its key."""
    found: dict[Key, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return found


def _without_prompt(line: Line, row: Row) -> Line:
    """A worker's line as it is kept: prompts with examples are long, and the steps of positions are of no use here."""
    kept = {name: value for name, value in line.items() if name != "order"}
    return kept | {"tokens": line["tokens"][len(row.prefix) :]}


def _item_of(request: Instance, number: int) -> str:
    """What a request is called in what is kept and told."""
    return f"{request.task_name} {request.doc_id}" if request.task_name is not None else f"row {number}"


def place_of(request: Instance) -> str:
    """The task and the item that a request is of, before what is said of it; nothing where nobody said."""
    if request.task_name is None:
        return ""
    return f"task {request.task_name!r}, item {request.doc_id}: "


def _refuse_blank(requests: Sequence[Instance]) -> None:
    """Raise `CanvasError` for a continuation without a word: it would be certain, and win over every other choice."""
    for request in requests:
        if not request.args[1].strip():
            raise CanvasError(f"{place_of(request)}choice {request.idx} is blank, so it has no likelihood")


def check_cache(held: Any, identity: str) -> None:
    """Write into an empty cache of answers whose they are, and refuse one of others."""
    if not len(held):
        held[CACHE_OWNER] = identity
    elif CACHE_OWNER not in held or held[CACHE_OWNER] != identity:
        raise SpecError("--use_cache: this cache holds answers of another sampler, seed or model; give another file")


def slices(values: Sequence[T], size: int) -> list[Sequence[T]]:
    """Neighbouring values, at most `size` of them together."""
    return [values[first : first + size] for first in range(0, len(values), size)]
