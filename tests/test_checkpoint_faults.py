"""Broken checkpoint folders: each is refused with one sentence that names the folder or the file and the fault."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from extras import needs
from naive import NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm
from mdm_sampling.loading import default_new_tokens

Breakage = Callable[[Path], object]


def llada(folder: Path, **changes: object) -> Path:
    return save_llada(NaiveLLaDA(seed=0), folder, **changes)


def dream(folder: Path, **changes: object) -> Path:
    return save_dream(NaiveDream(seed=0), folder, **changes)


def refusal(folder: Path | str, **options: object) -> str:
    """The message with which a checkpoint is refused; one line, and no class name of another library's error."""
    with pytest.raises(mdm.ModelError) as caught:
        mdm.load_backend(str(folder), **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def write(name: str, text: str | bytes) -> Breakage:
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str, size: int) -> Breakage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def remove(*names: str) -> Breakage:
    return lambda folder: [(folder / name).unlink() for name in names]


@pytest.mark.parametrize(
    ("name", "new", "words"),
    [
        ("model.transformer.ln_f.weight", None, ["missing weights", "model.norm.weight"]),
        ("model.transformer.blocks.1.q_proj.weight", None, ["missing weights", "layers.1.self_attn.q_proj"]),
        ("model.transformer.ln_f.weight", torch.ones(3), ["wrongly shaped", "model.norm.weight is [3], expected [32]"]),
        ("model.transformer.blocks.0.q_proj.bias", torch.zeros(32), ["does not have", "q_proj.bias"]),
        ("surplus.weight", torch.zeros(2), ["does not have", "surplus.weight"]),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, name: str, new: torch.Tensor | None, words: list[str]) -> None:
    model = NaiveLLaDA(seed=0)
    if new is None:
        del model.weights[name]
    else:
        model.weights[name] = new
    message = refusal(save_llada(model, tmp_path))
    assert str(tmp_path) in message
    for word in words:
        assert word in message


def test_a_missing_bias_of_dream_is_named(tmp_path: Path) -> None:
    model = NaiveDream(seed=0)
    del model.weights["model.layers.2.self_attn.k_proj.bias"]
    assert "missing weights: model.layers.2.self_attn.k_proj.bias" in refusal(save_dream(model, tmp_path))


@pytest.mark.parametrize(("layers", "word"), [(2, "does not have"), (4, "missing weights")])
def test_many_wrong_weights_are_counted(tmp_path: Path, layers: int, word: str) -> None:
    message = refusal(llada(tmp_path, n_layers=layers))
    assert word in message
    assert message.endswith("and 6 more")


@pytest.mark.parametrize("size", [0, 4, 5000], ids=lambda size: f"{size}_bytes")
def test_truncated_weights_are_refused(tmp_path: Path, size: int) -> None:
    cut("model.safetensors", size)(llada(tmp_path))
    assert "damaged or incomplete" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("breakage", "word"),
    [
        (remove("model.safetensors.index.json"), "model.safetensors"),
        (remove("model-00002-of-00003.safetensors"), "model-00002-of-00003.safetensors"),
        (write("model-00002-of-00003.safetensors", "hello world" * 99), "damaged or incomplete"),
        (write("model.safetensors.index.json", "{"), "cannot be loaded"),
        (write("model.safetensors.index.json", "[]"), "cannot be loaded"),
        (write("model.safetensors.index.json", "{}"), "weight_map"),
    ],
    ids=["no_index", "one_missing", "one_garbage", "index_cut", "index_list", "index_empty"],
)
def test_broken_shards_are_refused(tmp_path: Path, breakage: Breakage, word: str) -> None:
    breakage(llada(tmp_path, shards=3))
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert word in message


@pytest.mark.parametrize(
    ("breakage", "word"),
    [
        (write("config.json", "{not json"), "config.json is not valid JSON"),
        (write("config.json", ""), "config.json is not valid JSON"),
        (write("config.json", b"\xff\xfe\x00"), "config.json is not valid JSON"),
        (write("config.json", "[1]"), "config.json holds no JSON object"),
        (remove("config.json"), "there is no config.json"),
    ],
    ids=["invalid", "empty", "binary", "list", "missing"],
)
def test_unreadable_configs_are_refused(tmp_path: Path, breakage: Breakage, word: str) -> None:
    breakage(llada(tmp_path))
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert word in message


LLADA_KEYS = ["d_model", "n_heads", "n_layers", "max_sequence_length"]
DREAM_KEYS = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]


@pytest.mark.parametrize(
    ("save", "key"), [*((llada, key) for key in LLADA_KEYS), *((dream, key) for key in DREAM_KEYS)]
)
def test_a_missing_config_key_is_named(tmp_path: Path, save: Callable[..., Path], key: str) -> None:
    folder = save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    assert f"config.json lacks {key!r}" in refusal(folder)


@pytest.mark.parametrize("value", ["wide", -32, 0, 2.5, True, [32]], ids=repr)
def test_a_size_must_be_a_whole_number(tmp_path: Path, value: object) -> None:
    message = refusal(llada(tmp_path, d_model=value))
    assert f"d_model={value!r}, expected a whole number above 0" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, ["'bert'", "llada", "dream"]),
        ({"model_type": None}, ["None"]),
        ({"block_type": "olmo"}, ["block_type='olmo'", "'llama'"]),
        ({"activation_type": "gelu"}, ["activation_type='gelu'", "'silu'"]),
        ({"n_heads": 7}, ["7 attention heads, and 4 of keys and values"]),
        ({"n_kv_heads": 2}, ["wrongly shaped", "k_proj"]),
        ({"embedding_size": 39}, ["wrongly shaped", "embed_tokens"]),
        ({"torch_dtype": "float99"}, ["'float99'", "config.json", "bfloat16"]),
        ({"rms_norm_eps": "x"}, ["rms_norm_eps"]),
        ({"quantization_config": {"foo": 1}}, ["quant"]),
        ({"mask_token_id": None}, ["mask token", "mask_id=", "--mask-id"]),
        ({"mask_token_id": 4000}, ["4000", "[0, 40)"]),
        ({"mask_token_id": "two"}, ["'two'"]),
        ({"mask_token_id": 2.5}, ["2.5"]),
        ({"eos_token_id": "x"}, ["eos_token_id='x'"]),
        ({"eos_token_id": [0, "a"]}, ["eos_token_id=[0, 'a']"]),
        ({"eos_token_id": -5}, ["eos_token_id=-5"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_config_values_are_refused(tmp_path: Path, changes: dict[str, object], words: list[str]) -> None:
    message = refusal(llada(tmp_path, **changes))
    for word in words:
        assert word in message


def test_the_mask_id_can_be_passed(tmp_path: Path) -> None:
    assert mdm.load_backend(str(llada(tmp_path, mask_token_id=None)), mask_id=2).mask_id == 2


LLADA_TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]
DREAM_TOKENIZER = ["vocab.json", "merges.txt", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("save", "breakage", "word"),
    [
        (llada, remove("tokenizer.json"), "lacks tokenizer.json"),
        (llada, write("tokenizer.json", "{}"), "tokenizer cannot be read"),
        (llada, write("tokenizer.json", "not json"), "tokenizer cannot be read"),
        (llada, write("tokenizer_config.json", "["), "tokenizer cannot be read"),
        (dream, remove("vocab.json"), "lacks vocab.json"),
        (dream, remove("merges.txt"), "lacks merges.txt"),
        (dream, write("vocab.json", "{"), "tokenizer cannot be read"),
    ],
)
def test_broken_tokenizers_are_refused(
    tmp_path: Path, save: Callable[..., Path], breakage: Breakage, word: str
) -> None:
    breakage(save(tmp_path))
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert word in message


@pytest.mark.parametrize(("save", "files"), [(llada, LLADA_TOKENIZER), (dream, DREAM_TOKENIZER)])
def test_a_checkpoint_without_tokenizer_takes_ids_but_no_text(
    tmp_path: Path, save: Callable[..., Path], files: list[str]
) -> None:
    remove(*files)(save(tmp_path))
    backend = mdm.load_backend(str(tmp_path))
    assert backend.codec is None
    sampler = mdm.Sampler(backend, max_new_tokens=2)
    with pytest.raises(mdm.CanvasError, match="no tokenizer"):
        sampler.generate("a")
    assert len(sampler.fill([([5], [backend.mask_id] * 2)]).sequences[0]) == 3


@pytest.mark.parametrize(
    ("text", "length"), [(None, 128), ("{}", 128), ('{"max_new_tokens": null}', 128), ('{"max_new_tokens": 7}', 7)]
)
def test_the_default_length_is_the_checkpoint_s(tmp_path: Path, text: str | None, length: int) -> None:
    if text is not None:
        write("generation_config.json", text)(tmp_path)
    assert default_new_tokens(str(tmp_path)) == length


@pytest.mark.parametrize("text", ["{", "[]", b"\xff", '{"max_new_tokens": 0}', '{"max_new_tokens": "x"}'])
def test_a_broken_generation_config_is_refused(tmp_path: Path, text: str | bytes) -> None:
    write("generation_config.json", text)(tmp_path)
    with pytest.raises(mdm.ModelError, match=r"generation_config\.json"):
        default_new_tokens(str(tmp_path))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/no/where", "a/b/c", "Embedded", __file__])
def test_what_is_no_model_is_refused(name: str) -> None:
    message = refusal(name)
    assert repr(name) in message
    assert "not a folder" in message
    assert "embedded" in message


def test_an_unreachable_hub_id_is_refused_with_the_reason() -> None:
    message = refusal("nobody/nothing")
    assert "'nobody/nothing'" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "cached files" in message


def test_a_forced_family_does_not_hide_a_missing_folder(tmp_path: Path) -> None:
    assert "not a folder" in refusal(tmp_path / "nowhere", family="llada")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
        ({"device": ""}, "device '' cannot be used"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
        ({"device": "cpu", "device_map": "auto"}, "exclude each other"),
        pytest.param({"device_map": "toaster"}, "toaster", marks=needs("accelerate")),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"dtype": "float8_e4m3fn"}, "unknown dtype 'float8_e4m3fn'"),
        ({"attn_implementation": "magic"}, "magic"),
        ({"mask_id": 40}, "mask id 40 is outside"),
        ({"revision": "main"}, "revision 'main' would be ignored"),
        ({"family": "lada"}, "did you mean 'llada'"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(llada_folder: Path, options: dict[str, str], word: str) -> None:
    with pytest.raises(mdm.MDMError) as caught:
        mdm.load_backend(str(llada_folder), **options)  # type: ignore[arg-type]
    assert word in str(caught.value)


def test_a_missing_device_is_refused_before_the_weights_are_read(tmp_path: Path) -> None:
    remove("model.safetensors")(llada(tmp_path))
    missing = f"cuda:{torch.cuda.device_count()}"
    assert f"device '{missing}' cannot be used" in refusal(tmp_path, device=missing)


@pytest.mark.parametrize(("model_class", "save"), [(NaiveLLaDA, save_llada), (NaiveDream, save_dream)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_end_the_run(
    tmp_path: Path, model_class: type[NaiveLLaDA | NaiveDream], save: Callable[..., Path], value: float
) -> None:
    sampler = mdm.load(str(save(model_class(seed=0), tmp_path)), max_new_tokens=4)
    with torch.no_grad():
        sampler.backend.model.lm_head.weight[7] = value  # type: ignore[attr-defined]
    with pytest.raises(mdm.PredictionError, match="not finite"):
        sampler.generate("a b", chat=False)


@pytest.mark.parametrize("template", ["{% for %}", "{{ raise_exception('no user') }}"], ids=["syntax", "raises"])
def test_a_chat_template_that_fails_is_refused(tmp_path: Path, llada_folder: Path, template: str) -> None:
    folder = shutil.copytree(llada_folder, tmp_path / "copy")
    write("chat_template.jinja", template)(folder)
    sampler = mdm.load(str(folder), max_new_tokens=2)
    with pytest.raises(mdm.CanvasError, match="chat template refuses"):
        sampler.generate("a")
    assert sampler.generate("a", chat=False).texts


@pytest.mark.parametrize("text", ["a €", "\udcff"], ids=["unknown", "surrogate"])
def test_characters_without_a_token_are_named(llada_folder: Path, text: str) -> None:
    sampler = mdm.load(str(llada_folder), max_new_tokens=2)
    with pytest.raises(mdm.CanvasError, match="tokenizer does not know") as caught:
        sampler.generate(text, chat=False)
    assert repr(text[-1]) in str(caught.value)
    assert "'a'" not in str(caught.value)
