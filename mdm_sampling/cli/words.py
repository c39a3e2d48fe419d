"""Other programs' words for what the options here do: an option that is not known is answered with ours."""

from __future__ import annotations

import click

ROWS = "`mdm-sampling generate` has --samples; `mdm-sampling run` takes a row for each sample: its id makes the seed"
_ENDS = "A text ends at the model's end tokens (--eos finish saves the rest); `generate` and `run` have --stop"
_SYSTEM = "`generate` and `run` have --system; a list of chat messages, of a job or in Python, may begin with one"
_TEXTS = "`mdm-sampling generate` takes texts as arguments, or a file of them with --file"
_NO_GUIDANCE = "Classifier-free guidance is not computed here"
_PLANNER = (
    "--planner: low_confidence is `confidence`, topk_margin is `margin`, and `random` and `entropy` are so called"
)

OTHER_WORDS: dict[str, str] = {
    **dict.fromkeys(("gen-length", "max-length", "max-tokens", "max-gen-toks", "length"), "--max-new-tokens"),
    **dict.fromkeys(("block-length", "block-len"), "--block-size"),
    **dict.fromkeys(("diffusion-steps", "num-steps", "sampling-steps", "nfe"), "--steps"),
    **dict.fromkeys(("remasking", "remasking-strategy", "alg", "algorithm", "strategy", "sampler"), _PLANNER),
    **dict.fromkeys(("alg-temp", "remasking-temperature"), "--position-temperature, which info-gain reads"),
    **dict.fromkeys(("eps", "num-transfer-tokens", "transfer-index", "tokens-per-step", "k"), "--schedule and --steps"),
    **dict.fromkeys(("num-return-sequences", "num-samples", "samples", "n", "best-of"), ROWS),
    **dict.fromkeys(("stop", "stop-strings", "stop-sequences", "stop-token-ids", "until"), _ENDS),
    **dict.fromkeys(("cfg", "cfg-scale", "guidance-scale"), _NO_GUIDANCE),
    **dict.fromkeys(("dual-cache", "replace-position"), "--cache dual"),
    **dict.fromkeys(("prefix-cache", "cache-type"), "--cache prefix"),
    **dict.fromkeys(("do-sample", "sample"), "--temperature above 0"),
    **dict.fromkeys(("confidence-threshold", "conf-threshold", "factor"), "--threshold"),
    **dict.fromkeys(("num-candidates", "candidates"), "--candidate-number"),
    "candidate-number": "--planner info-gain:candidates=8",
    "position-temperature": "--planner info-gain:position_temperature=0.1",
    **dict.fromkeys(("logits-eos-inf",), "--processor ban"),
    **dict.fromkeys(("confidence-eos-eot-inf",), "--planner defer"),
    **dict.fromkeys(("model-path", "model-name", "model-id", "checkpoint", "ckpt", "pretrained"), "--model"),
    **dict.fromkeys(("mask-token-id",), "--mask-id"),
    **dict.fromkeys(("torch-dtype", "precision"), "--dtype"),
    **dict.fromkeys(("gpu", "cuda"), "--device cuda"),
    **dict.fromkeys(("random-seed", "generator-seed"), "--seed"),
    **dict.fromkeys(("prompt", "prompts", "text"), _TEXTS),
    **dict.fromkeys(("system", "system-prompt"), _SYSTEM),
}
"""Options of other programs without their dashes, and what to write here."""


def explained(error: click.NoSuchOption) -> click.UsageError:
    """The error of an unknown option, with our word for it where it is another program's and the command has ours."""
    hint = OTHER_WORDS.get(error.option_name.lstrip("-").replace("_", "-").lower())
    if hint is None or not _has_what_it_names(error.ctx, hint):
        return error
    said = f"Here it is {hint}." if hint.startswith("--") else f"{hint}."
    return click.UsageError(f"{error.message.rstrip('.')}. {said}", error.ctx)


def _has_what_it_names(ctx: click.Context | None, hint: str) -> bool:
    """Whether the command has the option with which a hint begins; one that begins otherwise fits every command."""
    if ctx is None or not hint.startswith("--"):
        return True
    name = hint.split()[0].rstrip(":,")
    return any(name in parameter.opts for parameter in ctx.command.params)
