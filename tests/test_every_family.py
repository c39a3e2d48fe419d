"""Every family in its published format against an independent naive forward, under every cache, alone and ragged."""

from pathlib import Path

import pytest
import torch
import transformers.core_model_loading
from naive import NaiveLLaDA
from naive_families import MASK, PLANS, NaiveDecoder, Plan, save_mmada

import mdm_sampling as mdm
from mdm_sampling.canvas import Canvas, Span
from mdm_sampling.testing import check_backend

CACHES = [mdm.NoCache(), mdm.PrefixCache(), mdm.DualCache()]


SPLITS = hasattr(transformers.core_model_loading, "Split")


@pytest.fixture(
    scope="module",
    params=[plan for plan in PLANS if SPLITS or not plan.glm],
    ids=lambda plan: plan.config["model_type"] + "-" + plan.family,
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[NaiveDecoder, Path]:
    naive = NaiveDecoder(request.param)
    return naive, naive.save(tmp_path_factory.mktemp("family"))


def loaded(plan: Plan, folder: Path, **options: object) -> mdm.TransformerBackend:
    backend = mdm.load_backend(folder, family=plan.family if plan.named else None, **options)  # type: ignore[arg-type]
    assert isinstance(backend, mdm.TransformerBackend)
    return backend


def canvas_of(backend: mdm.ModelBackend, *prompts: int, body: int = 11) -> Canvas:
    generator = torch.Generator().manual_seed(5)
    rows = [(torch.randint(3, 30, (n,), generator=generator).tolist(), [backend.mask_id] * body) for n in prompts]
    return mdm.Sampler(backend).canvas(rows)


def test_it_is_recognised(model: tuple[NaiveDecoder, Path]) -> None:
    naive, folder = model
    backend = loaded(naive.plan, folder)
    assert backend.source is not None
    assert backend.source.family == naive.plan.family
    assert (backend.mask_id, backend.look_back) == (MASK, int(naive.plan.shift))
    assert 256 in backend.eos_ids


@pytest.mark.parametrize("prompts", [(7,), (0,), (7, 3, 12)], ids=str)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_equal_a_naive_forward(
    model: tuple[NaiveDecoder, Path], prompts: tuple[int, ...], attention: str
) -> None:
    naive, folder = model
    backend = loaded(naive.plan, folder, attn_implementation=attention)
    canvas = canvas_of(backend, *prompts)
    with torch.no_grad():
        logits = backend.head(backend.trunk(canvas, Span(0, canvas.length), None))
    for i, prompt in enumerate(prompts):
        expected = naive.predict(torch.tensor(canvas.row(i)), prompt)
        torch.testing.assert_close(logits[i][canvas.valid[i]], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cache", CACHES, ids=mdm.describe)
def test_every_block_entry_equals_a_naive_forward(model: tuple[NaiveDecoder, Path], cache: mdm.CacheStrategy) -> None:
    """The forward that enters a block predicts each position as the naive one does, whatever the cache."""
    naive, folder = model
    prompts = (7, 3, 12)
    backend = loaded(naive.plan, folder)
    sampler = mdm.Sampler(backend, planner=mdm.Confidence(), cache=cache, block_size=4, steps=6)
    seen: list[tuple[Canvas, torch.Tensor]] = []
    trunk = backend.trunk

    def spy(canvas: Canvas, span: Span, slots: mdm.Slots | None, rows: torch.Tensor | None = None) -> torch.Tensor:
        hidden = trunk(canvas, span, slots, rows)
        if len(span) == canvas.length:
            seen.append((canvas, hidden))
        return hidden

    backend.trunk = spy  # type: ignore[method-assign]
    list(sampler.iterate(canvas_of(backend, *prompts)))
    assert len(seen) >= 3
    with torch.no_grad():
        for state, hidden in seen:
            for i in range(state.batch):
                prompt = int(state.valid[i, : state.start].sum())
                expected = naive.predict(torch.tensor(state.row(i)), prompt)
                torch.testing.assert_close(backend.head(hidden[i][state.valid[i]]), expected, atol=1e-5, rtol=1e-5)


def test_it_conforms(model: tuple[NaiveDecoder, Path]) -> None:
    naive, folder = model
    exact = not naive.plan.glm  # which routes in float32, whatever the dtype
    check_backend(loaded(naive.plan, folder, dtype="float64" if exact else "float32"), examples=3)


PLANNERS = [mdm.InfoGain(candidates=3), mdm.BoundedChain(), mdm.Speculate(mdm.Confidence())]


@pytest.mark.parametrize("cache", CACHES, ids=mdm.describe)
def test_a_row_is_decoded_in_a_batch_as_it_is_alone(model: tuple[NaiveDecoder, Path], cache: mdm.CacheStrategy) -> None:
    """With a planner that looks ahead for each cache; speculation changes no token."""
    naive, folder = model
    backend = loaded(naive.plan, folder, dtype="float64")
    rows = [([5, 6, 7], [MASK] * 7), ([8], [MASK] * 5)]
    planner = PLANNERS[CACHES.index(cache)]
    sampler = mdm.Sampler(backend, planner=planner, cache=cache, block_size=4, steps=7)
    together = sampler.fill(rows).sequences
    assert together == [sampler.fill([row]).sequences[0] for row in rows]
    if isinstance(planner, mdm.Speculate):
        assert together == sampler.replace(planner=mdm.Confidence()).fill(rows).sequences


def test_mmada_predicts_text_alone(tmp_path: Path) -> None:
    naive = NaiveLLaDA(seed=1)
    backend = mdm.load_backend(save_mmada(naive, tmp_path, text_size=36))
    assert backend.source is not None
    assert backend.source.family == "mmada"
    canvas = mdm.Sampler(backend).canvas([([5, 6], [naive.mask_id] * 4)])
    with torch.no_grad():
        logits = backend.head(backend.trunk(canvas, Span(0, canvas.length), None))
    torch.testing.assert_close(logits[0], naive.predict(torch.tensor(canvas.row(0))), atol=1e-5, rtol=1e-5)
    assert range(36, 40) in backend.unused_ids or max(r.stop for r in backend.unused_ids) == 40
    always_image = torch.zeros(1, 40).index_fill(1, torch.tensor([38]), 50.0)
    backend.head = lambda hidden: always_image.expand(len(hidden), -1)  # type: ignore[method-assign]
    assert max(mdm.Sampler(backend).fill([([5], [naive.mask_id] * 4)]).sequences[0]) < 36
