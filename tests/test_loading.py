"""Loading: what reaches transformers, which family is chosen, and where defaults come from."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from extras import needs
from naive import NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm
from mdm_sampling.backends.embedded import FOLDER
from mdm_sampling.reductions import compiled_slice_statistics


@pytest.mark.parametrize(
    ("naive", "save", "class_name"),
    [(NaiveLLaDA, save_llada, "LlamaForCausalLM"), (NaiveDream, save_dream, "Qwen2ForCausalLM")],
)
def test_options_reach_transformers_untouched(
    naive: Any, save: Any, class_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantisation and device maps need hardware or packages that tests don't have, so the call itself is checked."""
    save(naive(seed=0), tmp_path)
    seen: dict[str, Any] = {}

    def from_pretrained(cls: type, source: str, **kwargs: Any) -> None:
        seen.update(kwargs)
        raise OSError("that will do.")

    monkeypatch.setattr(getattr(transformers, class_name), "from_pretrained", classmethod(from_pretrained))
    quantization = object()
    with pytest.raises(mdm.ModelError, match="that will do"):
        mdm.load_backend(
            str(tmp_path),
            dtype="bfloat16",
            device_map="auto",
            attn_implementation="flash_attention_2",
            quantization_config=quantization,
        )
    assert seen["dtype"] is torch.bfloat16
    assert seen["device_map"] == "auto"
    assert seen["attn_implementation"] == "flash_attention_2"
    assert seen["quantization_config"] is quantization
    assert "trust_remote_code" not in seen


def test_no_remote_code_is_touched(llada_folder: Path) -> None:
    """The folders name remote code in auto_map, as published ones do; the files it names don't even exist."""
    config = json.loads((llada_folder / "config.json").read_text())
    assert "auto_map" in config
    assert not list(llada_folder.glob("*.py"))
    assert type(mdm.load_backend(str(llada_folder)).model).__module__.startswith("transformers.")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("option", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_dtype(llada_folder: Path, option: str, expected: torch.dtype) -> None:
    backend = mdm.load_backend(str(llada_folder), dtype=option)
    assert next(backend.model.parameters()).dtype == expected  # type: ignore[attr-defined]


def test_an_unknown_option_is_answered_with_those_there_are() -> None:
    with pytest.raises(mdm.ModelError, match=r"no load option 'planner'; there are dtype, .*`sampler.replace` takes"):
        mdm.load("embedded", planner="margin")  # type: ignore[call-arg]
    with pytest.raises(mdm.ModelError, match=r"no load option 'devise'; did you mean 'device'\?"):
        mdm.load_backend("embedded", devise="cpu")  # type: ignore[call-arg]


def test_the_mask_id_may_come_from_an_option(tmp_path: Path) -> None:
    """The option wins over the config."""
    save_llada(NaiveLLaDA(seed=0), tmp_path)
    assert mdm.load_backend(str(tmp_path)).mask_id == 2
    assert mdm.load_backend(str(tmp_path), mask_id=33).mask_id == 33


def test_a_family_can_be_forced(tmp_path: Path) -> None:
    save_llada(NaiveLLaDA(seed=0), tmp_path, model_type="my-own-name")
    with pytest.raises(mdm.ModelError, match="no backend reads the model_type 'my-own-name'"):
        mdm.load_backend(str(tmp_path))
    assert mdm.load_backend(str(tmp_path), family="llada").mask_id == 2


def test_max_new_tokens_comes_from_the_checkpoint(llada_folder: Path, tmp_path: Path) -> None:
    assert mdm.load(str(llada_folder)).max_new_tokens == 128
    assert mdm.load("embedded").max_new_tokens == 20
    assert mdm.load("embedded", max_new_tokens=7).max_new_tokens == 7


def test_the_published_defaults() -> None:
    spec = mdm.load("embedded").spec()
    assert spec["planner"] == "bypass:otherwise=(info-gain)"
    assert (spec["cache"], spec["token_sampler"], spec["steps"], spec["block_size"]) == ("prefix", "greedy", 512, 32)
    assert mdm.Bypass().threshold == 0.9
    assert (mdm.InfoGain().candidates, mdm.InfoGain().position_temperature) == (8, 0.1)


def test_the_embedded_model_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 8 * 2**20


def test_loading_leaves_the_logging_of_transformers_as_it_was(llada_folder: Path) -> None:
    from transformers.utils import logging

    logging.set_verbosity_info()
    try:
        mdm.load_backend(str(llada_folder))
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()


@pytest.fixture
def one_layer(tmp_path: Path) -> Path:
    """A checkpoint that compiles fast."""
    naive = NaiveLLaDA(seed=0)
    naive.layers = 1
    naive.weights = {name: w for name, w in naive.weights.items() if "blocks." not in name or "blocks.0." in name}
    return save_llada(naive, tmp_path)


def check_compiled(folder: Path, planner: mdm.PositionPlanner, cache: mdm.CacheStrategy) -> None:
    """Ragged rows give the same tokens, in float64, where rounding decides nothing."""

    def sampler(compile: bool) -> mdm.Sampler:
        backend = mdm.load_backend(str(folder), dtype="float64", compile=compile)
        return mdm.Sampler(backend, planner=planner, cache=cache, block_size=5, steps=6)

    plain, compiled = sampler(False), sampler(True)
    mask = plain.backend.mask_id
    rows = [([3, 4, 5], [mask] * 9), ([6], [7, *[mask] * 5])]
    assert not plain.backend.compiled
    assert compiled.backend.compiled
    assert compiled.fill(rows, [0, 1]).sequences == plain.fill(rows, [0, 1]).sequences
    assert compiled.spec()["backend"]["compile"] is True


@needs("compiler")
@needs("a minute")
def test_a_compiled_model_decodes_the_same(one_layer: Path) -> None:
    check_compiled(one_layer, mdm.InfoGain(4, 1.0), mdm.DualCache())


@needs("a minute")
@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13), reason="compiled models are tested with torch 2.13"
)
def test_the_graphs_that_are_compiled_decode_the_same(one_layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of lookaheads of any size that share slots. They run as they are, which takes no minute."""
    graphs = []

    def as_they_are(function: Any = None, **options: Any) -> Any:
        graphs.append(function)
        return real(function, backend="aot_eager", **options)

    real = torch.compile
    monkeypatch.setattr(torch, "compile", as_they_are)
    compiled_slice_statistics.cache_clear()
    try:
        check_compiled(one_layer, mdm.InfoGain(4, 1.0), mdm.DualCache())
    finally:
        compiled_slice_statistics.cache_clear()
    assert len(graphs) == 3  # a trial, the model, the statistics


def test_a_model_that_cannot_be_compiled_says_so() -> None:
    with pytest.raises(mdm.ModelError, match="CallableBackend cannot be compiled"):
        mdm.wrap(lambda tokens: tokens, mask_id=4, vocab_size=5).compile()


def test_a_missing_compiler_is_told_when_the_model_is_loaded(
    llada_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler was found. And more.")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(mdm.ModelError, match=r"torch\.compile does not work on this machine: no compiler was found"):
        mdm.load_backend(str(llada_folder), compile=True)


def test_a_model_that_needs_its_docstrings_says_so(llada_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under python -OO, where transformers fails at whatever it looks for in a docstring."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("No `Args` section is found in the docstring")

    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", broken)
    with pytest.raises(mdm.ModelError, match="cannot be loaded: No `Args`"):
        mdm.load_backend(llada_folder)
    monkeypatch.setattr(mdm.load, "__doc__", None)
    with pytest.raises(mdm.ModelError, match="python -OO, which removes the docstrings"):
        mdm.load_backend(llada_folder)


@pytest.mark.parametrize("options", [{"family": "llada"}, {"quantization_config": None, "revision": None}])
def test_a_sampler_takes_the_options_of_a_backend(llada_folder: Path, options: dict[str, Any]) -> None:
    assert mdm.load(llada_folder, **options).backend.source == mdm.load_backend(llada_folder, **options).source


def test_a_sampler_s_length_is_that_of_the_revision(llada_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same revision reaches the model, its config and its generation config."""
    from mdm_sampling import loading
    from mdm_sampling.backends import files

    asked: list[str | None] = []
    backend = mdm.load_backend(llada_folder)
    monkeypatch.setattr(loading, "load_backend", lambda model, **options: asked.append(options["revision"]) or backend)
    monkeypatch.setattr(files, "stored_file", lambda source, name, revision: asked.append(revision))
    assert mdm.load("owner/name", revision="v2").max_new_tokens == 128
    assert asked == ["v2", "v2"]
