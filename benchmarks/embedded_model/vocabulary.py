"""The embedded model's characters, one a token, and its tokenizer."""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

END, START, ANSWER, MASK, UNKNOWN = "<|end|>", "<|start|>", "<|answer|>", "_", "<|unknown|>"
VOCABULARY = [END, START, ANSWER, MASK, UNKNOWN, *"0123456789.+-*/=(),: \n"]
ID = {token: i for i, token in enumerate(VOCABULARY)}
DIGITS = torch.tensor([ID[c] for c in ".123456"])  # a cell's number -> its token; 0 is a hole


def ids(text: str) -> list[int]:
    return [ID[c] for c in text]


def tokenizer() -> PreTrainedTokenizerFast:
    """Encoding a prompt puts `<|start|>` before and `<|answer|>` after it."""
    core = Tokenizer(models.WordLevel(ID, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {ANSWER}", special_tokens=[(START, ID[START]), (ANSWER, ID[ANSWER])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        unk_token=UNKNOWN,
        additional_special_tokens=[ANSWER],
        answer_token=ANSWER,  # alone of what is put behind a prompt it belongs to an open one
        clean_up_tokenization_spaces=False,
    )
