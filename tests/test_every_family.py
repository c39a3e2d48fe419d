"""Every family in its published format against an independent naive forward, under every cache, alone and ragged."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers.core_model_loading
from click.testing import CliRunner
from naive import NaiveLLaDA
from naive_families import MASK, PLANS, VOCAB, NaiveBert, NaiveDecoder, Plan, save_mmada

import mdm_sampling as mdm
from mdm_sampling.backends.text import find_mask_id
from mdm_sampling.canvas import Canvas, Span
from mdm_sampling.cli import main
from mdm_sampling.registry.registry import registry
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
def test_what_is_computed_equals_a_naive_forward(model: tuple[NaiveDecoder, Path], cache: mdm.CacheStrategy) -> None:
    """The forward that enters a block predicts each position as the naive one does, whatever the cache; every forward
    does in a block-causal model.
    """
    naive, folder = model
    backend = loaded(naive.plan, folder)
    sampler = mdm.Sampler(backend, planner=mdm.Confidence(), cache=cache, block_size=8, steps=6)
    seen: list[tuple[Canvas, Span, torch.Tensor]] = []
    trunk = backend.trunk

    def spy(canvas: Canvas, span: Span, slots: mdm.Slots | None, rows: torch.Tensor | None = None) -> torch.Tensor:
        hidden = trunk(canvas, span, slots, rows)
        if len(span) == canvas.length or naive.plan.block:
            seen.append((canvas, span, hidden))
        return hidden

    backend.trunk = spy  # type: ignore[method-assign]
    list(sampler.iterate(canvas_of(backend, 7, 3, 12)))
    assert len(seen) >= 2
    with torch.no_grad():
        for state, span, hidden in seen:
            for i in range(state.batch):
                prompt = int(state.valid[i, : state.start].sum())
                expected = torch.zeros(state.length, VOCAB)
                expected[state.valid[i]] = naive.predict(torch.tensor(state.row(i)), prompt)
                here = state.valid[i, span.positions]
                got, wanted = backend.head(hidden[i][here]), expected[span.positions][here]
                torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


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


def test_what_it_is_is_told_without_its_weights(model: tuple[NaiveDecoder, Path], tmp_path: Path) -> None:
    naive, folder = model
    bare = tmp_path / folder.name
    bare.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    facts = mdm.describe_model(bare, family=naive.plan.family if naive.plan.named else None)
    assert (facts.family, facts.mask_id, facts.vocab_size) == (naive.plan.family, MASK, VOCAB)
    assert facts.parameters == sum(weight.numel() for weight in naive.parameters())
    assert facts.attention.startswith("full" if naive.plan.block is None else f"blocks of {naive.plan.block}, ")
    assert ("prompt" in facts.attention) == naive.plan.from_prompt
    assert facts.has_chat_template


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


SDAR = next(plan for plan in PLANS if plan.family == "sdar")
BD3LM = next(plan for plan in PLANS if plan.from_prompt)


@pytest.mark.parametrize(
    ("name", "changes", "options", "length"),
    [
        ("SDAR-4B-Chat", {}, {}, 4),
        ("SDAR-4B-Chat-b16", {}, {}, 16),
        ("SDAR-4B-Chat-b16", {"block_size": 8}, {}, 8),
        ("SDAR-4B-Chat-b16", {"block_size": 8}, {"attention_block": 2}, 2),
        ("SDAR-4B-Chat", {}, {"attention_block": 0}, None),
    ],
)
def test_the_attention_block_is_the_options_the_configs_or_the_names(
    name: str, changes: dict[str, object], options: dict[str, int], length: int | None, tmp_path: Path
) -> None:
    folder = NaiveDecoder(replace(SDAR, folder=name)).save(tmp_path, **changes)
    blocks = loaded(SDAR, folder, **options).attention_blocks
    assert (None if blocks is None else blocks.length) == length


def test_the_published_mask_is_taken_where_the_tokenizer_has_that_token(tmp_path: Path) -> None:
    """SDAR's config.json names no mask, and its tokenizer names a text that is not its mask."""
    folder = NaiveDecoder(SDAR).save(tmp_path, mask_token_id=None, vocab_size=151936)
    assert mdm.describe_model(folder).mask_id == MASK  # the tokenizer's: this one has no token 151669
    assert mdm.describe_model(folder, mask_id=7).mask_id == 7
    published = SimpleNamespace(get_vocab=lambda: {"a": 0, "<MASK>": 151669, "<|MASK|>": 151670}, mask_token_id=151670)
    assert find_mask_id(None, {}, 151669, published, 151936, "here") == 151669
    assert find_mask_id(None, {}, 151669, None, 151936, "here") == 151669


def test_a_mask_outside_the_vocabulary_is_told_with_its_origin(tmp_path: Path) -> None:
    folder = NaiveDecoder(SDAR).save(tmp_path, mask_token_id=999)
    with pytest.raises(mdm.ModelError, match=r"999 is outside .* from mask_token_id of config\.json"):
        mdm.load_backend(folder)
    with pytest.raises(mdm.ModelError, match=r"999 is outside .* from the option mask_id \(--mask-id\)"):
        mdm.load_backend(folder, mask_id=999)
    with pytest.raises(mdm.ModelError, match="attention_block must be 0 or more, got -1"):
        mdm.load_backend(folder, attention_block=-1, mask_id=MASK)


def test_a_name_that_does_not_say_what_a2d_attends_to_is_refused(tmp_path: Path) -> None:
    folder = NaiveDecoder(replace(BD3LM, folder="my-model")).save(tmp_path)
    with pytest.raises(mdm.ModelError, match=r"says neither mdlm nor bd3lm.*attention_block=0"):
        mdm.load_backend(folder)
    assert loaded(BD3LM, folder, attention_block=4).attention_blocks == mdm.AttentionBlocks(4, "prompt")


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("sdar", {"num_key_value_heads": 3}, "4 attention heads, and 3 of keys and values"),
        ("sdar", {"use_regular_causal": True}, "use_regular_causal=True"),
        ("sdar", {"block_causal_prompt": False}, "block_causal_prompt=False"),
        ("sdar", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type='yarn'"),
        ("llada2", {"image_token_offset": 157184}, "image_token_offset"),
        ("llada2", {"partial_rotary_factor": 1.0}, "partial_rotary_factor=1.0"),
        ("llada2", {"num_shared_experts": None}, "lacks 'num_shared_experts'"),
        ("llada-moe", {"shared_expert_intermediate_size": 64}, "shared_expert_intermediate_size"),
        ("llada-moe", {"moe_router_enable_expert_bias": True}, "moe_router_enable_expert_bias"),
        ("llada-moe", {"moe_layer_freq": [1, 1]}, "moe_layer_freq"),
        ("llada-moe", {"num_experts_per_tok": 9}, "num_experts_per_tok=9 of num_experts=5"),
        ("rnd1", {"norm_topk_prob": None}, "lacks 'norm_topk_prob'"),
        ("illada", {"layer_norm_eps": 1e-5}, "layer_norm_eps"),
        ("sdar", {"model_type": "wedlm"}, "depends on which tokens are known"),
        ("sdar", {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, "autoregressive.*name its family"),
        ("sdar", {"architectures": ["SomethingElse"]}, "'sdar' with the class 'SomethingElse'"),
    ],
)
def test_what_is_not_computed_is_refused_before_weights_are_read(
    family: str, changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    plan = next(plan for plan in PLANS if plan.family == family)
    folder = NaiveDecoder(plan).save(tmp_path, **changes)
    (folder / "model.safetensors").unlink()
    with pytest.raises(mdm.ModelError, match=words):
        mdm.load_backend(folder)
    with pytest.raises(mdm.ModelError, match=words):
        mdm.describe_model(folder)


def test_full_attention_is_not_cut_into_blocks(tmp_path: Path) -> None:
    plan = next(plan for plan in PLANS if plan.family == "illada")
    with pytest.raises(mdm.ModelError, match="attention_block=4 would be wrong: the attention of this model is full"):
        mdm.load_backend(NaiveDecoder(plan).save(tmp_path), attention_block=4)


def test_no_format_claims_what_another_claims(tmp_path: Path) -> None:
    """Each published config is claimed by its own family alone, whatever order they are registered in."""
    families = {claim.name: claim.part() for claim in registry().kind("backends")}
    for plan in PLANS:
        config = {"vocab_size": VOCAB} | plan.config
        claims = [name for name, family in families.items() if family.recognises("somewhere", config)]
        assert claims == ([] if plan.named else [plan.family])


def test_show_tells_what_a_folder_is(tmp_path: Path) -> None:
    folder = NaiveDecoder(SDAR).save(tmp_path)
    shown = CliRunner().invoke(main, ["show", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "sdar, computed by Qwen3ForCausalLM" in shown.output
    assert "blocks of 4, counted from a row's first token" in shown.output
    facts = json.loads(CliRunner().invoke(main, ["show", str(folder), "--json"]).stdout)
    assert facts["parameters"] * 2 == facts["bytes"]["bfloat16"]
    broken = CliRunner().invoke(main, ["show", str(tmp_path)])
    assert broken.exit_code == 1
    assert "there is no config.json" in broken.output


@pytest.mark.parametrize("family", ["sdar", "fast-dllm", "stable-diffcoder"])
def test_the_command_line_takes_it(family: str, tmp_path: Path) -> None:
    """Prompts of several lengths in the chat template, texts with masks, and a job of them."""
    folder = NaiveDecoder(next(plan for plan in PLANS if plan.family == family)).save(tmp_path)
    few = ["--model", str(folder), "--block-size", "4", "--steps", "8"]
    asked = CliRunner().invoke(main, ["generate", *few, "--max-new-tokens", "6", "--json", "ab", "abc", "abcd"])
    assert asked.exit_code == 0, asked.output
    rows = [json.loads(line) for line in asked.stdout.splitlines()]
    codec = mdm.load_backend(folder).codec
    assert codec is not None
    for prompt, row in zip(("ab", "abc", "abcd"), rows, strict=True):
        assert row["tokens"][:-6] == codec.encode(prompt)
        assert row["text"] == codec.decode(row["tokens"][-6:])
    watched = CliRunner().invoke(main, ["watch", *few, "--max-new-tokens", "6", "abc"])
    assert watched.exit_code == 0, watched.output
    assert watched.stdout.endswith(f"{rows[1]['text']}\n")
    filled = CliRunner().invoke(main, ["infill", *few, "ab[MASK:3]cd"])
    assert filled.exit_code == 0, filled.output
    assert filled.stdout.startswith("ab")
    prompts = [json.dumps({"prompt": prompt}) for prompt in ("ab", "abc", "abcd")]
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts))
    job = [
        "run",
        "--input",
        str(tmp_path / "prompts.jsonl"),
        "--output",
        str(tmp_path / "out.jsonl"),
        *few,
        "--max-new-tokens",
        "6",
    ]
    ran = CliRunner().invoke(main, job)
    assert ran.exit_code == 0, ran.output
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {line["text"] for line in lines} == {row["text"] for row in rows}


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("cache", CACHES, ids=mdm.describe)
def test_bert_predicts_what_its_definition_says(old_names: bool, cache: mdm.CacheStrategy, tmp_path: Path) -> None:
    naive = NaiveBert()
    backend = mdm.load_backend(naive.save(tmp_path, old_names))
    assert isinstance(backend, mdm.TransformerBackend)
    sampler = mdm.Sampler(backend, planner=mdm.InfoGain(candidates=3), cache=cache, block_size=4, steps=20)
    canvas = sampler.canvas([([2, 7, 8], [4] * 7), ([2], [9, 4, 4, 3])])
    with torch.no_grad():
        logits = backend.head(backend.trunk(canvas, Span(0, canvas.length), None))
    for i in range(canvas.batch):
        expected = naive.predict(torch.tensor(canvas.row(i)))
        torch.testing.assert_close(logits[i][canvas.valid[i]], expected, atol=1e-5, rtol=1e-5)
    check_backend(backend, examples=2)


def test_bert_fills_a_text_between_its_own_tokens(tmp_path: Path) -> None:
    """[CLS] before, [SEP] behind, neither in the text; other heads are left out, other layouts refused."""
    sampler = mdm.load(NaiveBert().save(tmp_path), steps=8).replace(planner="confidence")
    result = sampler.infill("a [MASK:2] b")
    assert [result.sequences[0][0], result.sequences[0][-1]] == [2, 3]
    assert len(result.sequences[0]) == 6
    assert "[" not in result.texts[0]
    filled = CliRunner().invoke(main, ["infill", "--model", str(tmp_path), "a [MASK] b"])
    assert filled.exit_code == 0, filled.output
    NaiveBert().save(tmp_path, position_embedding_type="relative_key")
    with pytest.raises(mdm.ModelError, match="position_embedding_type='relative_key'"):
        mdm.load_backend(tmp_path)
