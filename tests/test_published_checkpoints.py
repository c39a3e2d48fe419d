"""Checkpoints in the published formats of LLaDA and Dream: they load, fill and end as the defaults say."""

import sys
from dataclasses import replace

import pytest
import torch
import transformers
from instruments import CACHES, spy_on_trunk

import mdm_sampling as mdm


@pytest.mark.defect(21)
@pytest.mark.parametrize("checkpoint", ["llada_folder", "dream_folder"])
def test_published_formats_run_on_current_transformers(checkpoint: str, request: pytest.FixtureRequest) -> None:
    """LLaDA and Dream folders load and sample on transformers 5 with its own classes and no remote code."""
    assert int(transformers.__version__.split(".")[0]) >= 5
    sampler = mdm.load(str(request.getfixturevalue(checkpoint)), max_new_tokens=6, block_size=4, steps=4)
    backend = sampler.backend
    assert isinstance(backend, mdm.TransformerBackend)
    assert type(backend.model).__module__.startswith("transformers.models.")
    assert not any(name.startswith("transformers_modules") for name in sys.modules)
    for cache in CACHES:
        result = replace(sampler, cache=cache).generate(["hello", "a"])
        assert all(backend.mask_id not in sequence for sequence in result.sequences)


@pytest.mark.defect(28)
@pytest.mark.parametrize("checkpoint", ["llada_folder", "dream_folder"])
def test_the_default_cache_works_on_published_checkpoints(checkpoint: str, request: pytest.FixtureRequest) -> None:
    """The default, the prefix cache, runs on checkpoints in the published formats and recomputes less than no
    cache."""
    sampler = mdm.load(str(request.getfixturevalue(checkpoint)), max_new_tokens=8, block_size=4, steps=8)
    assert sampler.cache == mdm.PrefixCache()
    assert isinstance(sampler.planner, mdm.Bypass)
    assert isinstance(sampler.planner.otherwise, mdm.InfoGain)
    backend = sampler.backend
    assert isinstance(backend, mdm.TransformerBackend)
    forwards = spy_on_trunk(backend)
    result = sampler.generate("what is this?", chat=False)
    assert backend.mask_id not in result.sequences[0]
    start = len(result.sequences[0]) - 8
    assert {forward.span.start for forward in forwards if not forward.is_fork} >= {0}
    assert {forward.span.start for forward in forwards if forward.is_fork} == {start, start + 4}
    row = result.rows[0]
    assert row.token_forwards < row.forwards * (start + 8)


@pytest.mark.defect(16)
@pytest.mark.parametrize("checkpoint", ["llada_folder", "dream_folder"])
def test_a_text_with_masks_is_filled(checkpoint: str, request: pytest.FixtureRequest) -> None:
    """Infilling a text changes nothing but its masks, and works for both families."""
    sampler = mdm.load(str(request.getfixturevalue(checkpoint)), steps=4)
    result = sampler.infill(["ab[MASK:3]cd", "[MASK]a"])
    codec = sampler.backend.codec
    assert codec is not None
    assert [len(sequence) for sequence in result.sequences] == [7, 2]
    assert codec.decode(result.sequences[0][:2] + result.sequences[0][-2:]) == "abcd"
    assert all(sampler.backend.mask_id not in sequence for sequence in result.sequences)


@pytest.mark.defect(6)
@pytest.mark.parametrize("checkpoint", ["llada_folder", "dream_folder"])
def test_published_configs_do_not_name_an_end_token_twice(checkpoint: str, request: pytest.FixtureRequest) -> None:
    """LLaDA and Dream have eos == pad, in the config and in the tokenizer; a penalty still counts once."""
    backend = mdm.load_backend(str(request.getfixturevalue(checkpoint)))
    lower = mdm.Penalise(by=4.0).build(backend)
    logits = lower(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, backend.vocab_size))
    expected = torch.zeros(1, backend.vocab_size)
    expected[0, list(backend.eos_ids)] = -4.0
    assert torch.equal(logits, expected)
