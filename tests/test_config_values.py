"""What config.json and the files beside it say: each value of its kind, no default for what decides the result."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from naive import NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm
from mdm_sampling.canvas import Span
from mdm_sampling.loading import default_new_tokens

Save = Callable[..., Path]


def llada(folder: Path, **changes: object) -> Path:
    return save_llada(NaiveLLaDA(seed=0), folder, **changes)


def dream(folder: Path, **changes: object) -> Path:
    return save_dream(NaiveDream(seed=0), folder, **changes)


def without(folder: Path, *keys: str) -> Path:
    """The same folder with these keys taken out of its config.json."""
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in keys}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def refusal(folder: Path | str, **options: object) -> str:
    with pytest.raises(mdm.ModelError) as caught:
        mdm.load_backend(folder, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def logits(backend: mdm.ModelBackend) -> torch.Tensor:
    canvas = mdm.Sampler(backend).canvas([([5, 6, 7, 8], [backend.mask_id] * 4)])
    with torch.no_grad():
        return backend.head(backend.trunk(canvas, Span(0, canvas.length), None))


# --- The rotary base ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("save", [llada, dream])
def test_the_rotary_base_may_stand_in_the_newer_spelling(save: Save, key: str, tmp_path: Path) -> None:
    base = NaiveLLaDA.theta if save is llada else NaiveDream.theta
    expected = logits(mdm.load_backend(save(tmp_path / "old")))
    described = {"rope_theta": base, "rope_type": "default", "factor": None}
    folder = without(save(tmp_path / "new", **{key: described}), "rope_theta")
    assert torch.equal(logits(mdm.load_backend(folder)), expected)


def test_a_checkpoint_saved_by_transformers_loads_as_the_one_that_it_came_from(tmp_path: Path) -> None:
    backend = mdm.load_backend(dream(tmp_path / "old"))
    backend.model.save_pretrained(tmp_path / "tuned")  # type: ignore[attr-defined]
    assert "rope_theta" not in json.loads((tmp_path / "tuned" / "config.json").read_text())
    tuned = mdm.load_backend(tmp_path / "tuned", family="dream", mask_id=backend.mask_id)
    assert torch.equal(logits(tuned), logits(backend))


@pytest.mark.parametrize("save", [llada, dream])
def test_a_config_that_names_no_rotary_base_is_refused(save: Save, tmp_path: Path) -> None:
    assert "names no rotary base" in refusal(without(save(tmp_path), "rope_theta"))
    folder = without(save(tmp_path, rope_parameters={"rope_type": "default"}), "rope_theta")
    assert "names no rotary base" in refusal(folder)


@pytest.mark.parametrize("save", [llada, dream])
@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(
    "described",
    [
        {"rope_type": "linear", "factor": 8.0},
        {"type": "yarn"},
        {"rope_type": "default", "factor": 2},
        {"rope_type": "default", "partial_rotary_factor": 0.5},
        {"full_attention": {"rope_type": "default"}},
        ["default"],
        "linear",
    ],
    ids=str,
)
def test_other_rotary_embeddings_are_refused_wherever_they_are_written(
    save: Save, key: str, described: object, tmp_path: Path
) -> None:
    assert key in refusal(save(tmp_path, **{key: described}))


@pytest.mark.parametrize("save", [llada, dream])
def test_two_rotary_bases_are_a_contradiction(save: Save, tmp_path: Path) -> None:
    message = refusal(save(tmp_path, rope_parameters={"rope_theta": 10_000.0}))
    assert "contradicts itself" in message
    assert "rope_parameters.rope_theta=10000.0" in message


# --- Numbers ------------------------------------------------------------------------------------------------------

BASES: list[object] = [float("inf"), float("nan"), 0, -5, 1, 1e308, True, "10000", [1e4], 10**400]
EPSILONS: list[object] = [0, -1e-5, 1e30, 1, float("nan"), float("inf"), True, "1e-5"]


@pytest.mark.parametrize("save", [llada, dream])
@pytest.mark.parametrize(
    ("key", "value"),
    [*(("rope_theta", value) for value in BASES), *(("rms_norm_eps", value) for value in EPSILONS)],
    ids=lambda value: repr(value)[:20],
)
def test_a_number_out_of_range_is_refused(save: Save, key: str, value: object, tmp_path: Path) -> None:
    message = refusal(save(tmp_path, **{key: value}))
    assert key in message or "too large" in message
    assert len(message) < 400


@pytest.mark.parametrize("save", [llada, dream])
def test_a_missing_epsilon_is_refused(save: Save, tmp_path: Path) -> None:
    assert "lacks 'rms_norm_eps'" in refusal(without(save(tmp_path), "rms_norm_eps"))


@pytest.mark.parametrize(
    ("save", "key"),
    [
        (llada, "rope_full_precision"),
        (llada, "weight_tying"),
        (llada, "include_bias"),
        (llada, "rope"),
        (dream, "tie_word_embeddings"),
        (dream, "use_sliding_window"),
    ],
)
@pytest.mark.parametrize("value", ["no", 0, 1, [], 0.0], ids=repr)
def test_a_flag_must_be_true_or_false(save: Save, key: str, value: object, tmp_path: Path) -> None:
    assert key in refusal(save(tmp_path, **{key: value}))


@pytest.mark.parametrize(
    ("save", "key"),
    [
        (llada, "embedding_size"),
        (llada, "mlp_hidden_size"),
        (llada, "n_kv_heads"),
        (dream, "num_key_value_heads"),
        (dream, "max_position_embeddings"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "4", 2**31, 10**30], ids=repr)
def test_an_optional_size_must_be_a_size_too(save: Save, key: str, value: object, tmp_path: Path) -> None:
    assert f"{key}={value!r}" in refusal(save(tmp_path, **{key: value}))


@pytest.mark.parametrize("size", [1, 2, 34, 41, 1000])
def test_a_vocabulary_that_contradicts_the_embeddings_is_refused(size: int, tmp_path: Path) -> None:
    """The last token of the tokenizer is 34, the embeddings have 40 rows."""
    assert f"vocab_size={size} beside embedding_size=40" in refusal(llada(tmp_path, vocab_size=size))


def test_embeddings_may_have_more_rows_than_there_are_tokens(tmp_path: Path) -> None:
    assert mdm.load_backend(llada(tmp_path, vocab_size=35)).vocab_size == 40


def test_sliding_attention_is_refused_in_the_newer_spelling_too(tmp_path: Path) -> None:
    assert "layer_types" in refusal(dream(tmp_path, layer_types=["full_attention"] * 2 + ["sliding_attention"]))
    assert mdm.load_backend(dream(tmp_path, layer_types=["full_attention"] * 3)).vocab_size == 264


# --- Sizes, compared with the files before anything is made -------------------------------------------------------


@pytest.mark.parametrize(
    ("save", "key", "value"),
    [
        (llada, "embedding_size", 10**9),
        (llada, "d_model", 2**30),
        (llada, "mlp_hidden_size", 2**31 - 1),
        (llada, "n_layers", 2**31 - 1),
        (llada, "n_layers", 28),
        (dream, "vocab_size", 2**31 - 1),
        (dream, "num_hidden_layers", 100_000),
        (dream, "intermediate_size", 10**9),
    ],
)
def test_huge_sizes_are_refused_at_once(
    save: Save, key: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing reaches transformers' loading, which would make weights of these sizes."""

    def made(*_: object, **__: object) -> None:
        raise AssertionError("weights were made")

    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", made)
    began = time.process_time()
    message = refusal(save(tmp_path, **{key: value}))
    assert "missing weights" in message or "wrongly shaped weights" in message or "no memory can hold" in message
    assert time.process_time() - began < 5


# --- Weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["embed", "norm", "q"])
@pytest.mark.parametrize(
    "dtype", [torch.int32, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str
)
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_weights_that_are_no_floats_are_refused(family: str, dtype: torch.dtype, key: str, tmp_path: Path) -> None:
    model = NaiveLLaDA(seed=0) if family == "llada" else NaiveDream(seed=0)
    name = model.names(0)["q"] if key == "q" else model.top[key]
    model.weights[name] = model.weights[name].to(dtype)
    folder = save_llada(model, tmp_path) if isinstance(model, NaiveLLaDA) else save_dream(model, tmp_path)
    assert "not floating-point numbers" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_weights_that_are_not_finite_are_refused(family: str, value: float, tmp_path: Path) -> None:
    """A canvas of fewer than 16 positions would decode with them, since attention turns nan into zeros there."""
    model = NaiveLLaDA(seed=0) if family == "llada" else NaiveDream(seed=0)
    model.weights[model.names(0)["k"]][3, 3] = value
    folder = save_llada(model, tmp_path) if isinstance(model, NaiveLLaDA) else save_dream(model, tmp_path)
    message = refusal(folder)
    assert "not finite" in message
    assert "layers.0.self_attn.k_proj.weight" in message


def test_weights_that_overflow_in_a_smaller_dtype_are_refused(tmp_path: Path) -> None:
    model = NaiveLLaDA(seed=0)
    model.weights[model.top["embed"]][0, 0] = 1e6
    folder = save_llada(model, tmp_path)
    assert mdm.load_backend(folder).vocab_size == 40
    assert "not finite in float16" in refusal(folder, dtype="float16")


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_tied_weights_beside_another_head_are_refused(family: str, tmp_path: Path) -> None:
    """Where the stored head is the embedding there is no contradiction."""
    model = NaiveLLaDA(seed=0) if family == "llada" else NaiveDream(seed=0)
    tied = {"weight_tying": True} if family == "llada" else {"tie_word_embeddings": True}

    def save(folder: Path) -> Path:
        saved = save_llada if family == "llada" else save_dream
        return saved(model, folder, **tied)  # type: ignore[arg-type]

    assert "head is stored that differs" in refusal(save(tmp_path / "other"))
    model.weights[model.top["head"]] = model.weights[model.top["embed"]].clone()
    backend = mdm.load_backend(save(tmp_path / "same"))
    assert torch.equal(backend.model.lm_head.weight, backend.model.model.embed_tokens.weight)  # type: ignore[attr-defined]


def test_a_llada_that_does_not_speak_of_tying_is_tied(tmp_path: Path) -> None:
    """As in the published code; a head that differs is then a contradiction."""
    assert "head is stored that differs" in refusal(without(llada(tmp_path), "weight_tying"))


# --- The files beside config.json ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        (0, [0, 5], (0, 1, 5)),
        (0, 6, (0, 1, 6)),
        ([3, 4], [4, 7], (3, 4, 0, 1, 7)),
        (None, [5], (0, 1, 5)),
        (0, None, (0, 1)),
    ],
)
def test_the_end_tokens_are_all_that_any_file_names(
    config: object, generation: object, expected: tuple[int, ...], tmp_path: Path
) -> None:
    """The tokenizer names 0, and 1 is the end of a turn."""
    folder = llada(tmp_path, eos_token_id=config)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    assert mdm.load_backend(folder).eos_ids == expected


@pytest.mark.parametrize("named", ["x", [0, "a"], -5, 2.0, True, {"0": 1}], ids=repr)
def test_end_tokens_that_are_none_are_refused(named: object, tmp_path: Path) -> None:
    folder = llada(tmp_path)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    assert "generation_config.json says eos_token_id" in refusal(folder)


@pytest.mark.parametrize("length", [10**30, 2**63, 0, -1, 2.5, True, "8", [8]], ids=repr)
def test_a_default_length_that_is_none_is_refused(length: object, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_new_tokens": length}))
    with pytest.raises(mdm.ModelError, match=r"generation_config\.json says max_new_tokens"):
        default_new_tokens(tmp_path)


def test_a_default_length_beyond_the_context_is_refused(tmp_path: Path) -> None:
    folder = llada(tmp_path)
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": 2**40}))
    with pytest.raises(mdm.ModelError, match=r"max_new_tokens=1099511627776, which exceeds .* context of 128"):
        mdm.load(folder)
    assert mdm.load(folder, max_new_tokens=7).max_new_tokens == 7


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 200 + "1" + "}" * 200, "[]", '"x"', "5", "null"])
def test_files_that_hold_no_plain_object_are_refused(name: str, text: str, tmp_path: Path) -> None:
    folder = llada(tmp_path)
    (folder / name).write_text(text)
    assert name in refusal(folder)


def test_a_folder_with_nothing_but_an_adapter_says_so(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "GSAI-ML/LLaDA-8B-Base", "r": 8}')
    message = refusal(tmp_path)
    assert "LoRA adapter of GSAI-ML/LLaDA-8B-Base" in message
    llada(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "LoRA adapter" in refusal(tmp_path)


@pytest.mark.parametrize("model", [None, 5, b"embedded", ["embedded"], True], ids=repr)
def test_what_names_no_model_is_refused(model: object) -> None:
    for call in (mdm.load, mdm.load_backend, default_new_tokens):
        with pytest.raises(mdm.ModelError, match="named by a text or a path"):
            call(model)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"family": 5}, "family"),
        ({"revision": 5}, "revision"),
        ({"attn_implementation": 5}, "attn_implementation"),
        ({"mask_id": "2"}, "mask_id"),
        ({"mask_id": True}, "mask_id"),
        ({"compile": "no"}, "compile"),
        ({"dtype": 5}, "dtype"),
        ({"device": 5}, "device '5'"),
        ({"device_map": "meta"}, "device 'meta'"),
        ({"device_map": "5"}, "device '5'"),
        ({"device_map": 5}, "cuda:5"),
        ({"device_map": {}}, "device_map"),
        ({"device_map": {"": "toaster"}}, "toaster"),
        ({"device_map": {"": None}}, "device_map"),
        ({"device_map": 2.5}, "device_map"),
    ],
    ids=str,
)
def test_options_of_other_kinds_are_refused(llada_folder: Path, options: dict[str, object], word: str) -> None:
    assert word in refusal(llada_folder, **options)
