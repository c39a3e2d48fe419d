"""What the chat template made of a job's prompts, kept with the job.

A template may write today's date. A job that goes on tomorrow asks what it asked today, so a prompt is rendered once.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from ..backends.chat import Rendered
from ..backends.text import TextCodec
from ..errors import SpecError
from ..fields import Fields, parse_json
from ..folders.files import RENDERED, replacing, write_json_lines
from ..prompts import Prompt


class Renderings:
    """The texts that a chat template made of prompts, by prompt and template.

    Args:
        folder: keeps them. Raises `SpecError` if what it keeps is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / RENDERED
        self.texts: dict[str, str] = {}
        self.is_new = False
        try:
            lines = self.file.read_bytes().split(b"\n")[:-1]
            for fields in (Fields(parse_json(line)) for line in lines):
                self.texts[_text(fields, "prompt")] = _text(fields, "text")
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError) as error:
            raise SpecError(f"{self.file} is damaged ({error}); move {folder} away to begin anew") from error

    def of(self, codec: TextCodec, prompt: Prompt) -> Rendered:
        """The prompt's text: as it is kept, else from the template. Raises `CanvasError` if the template does."""
        asked = json.dumps([codec.tokenizer.chat_template, prompt], default=repr)
        key = sha256(asked.encode()).hexdigest()[:32]
        if key not in self.texts:
            self.texts[key] = codec.rendered(prompt).text
            self.is_new = True
        return Rendered(self.texts[key])

    def keep(self) -> None:
        """Write what was rendered to the folder, before anything that was decoded from it."""
        if self.is_new:
            with replacing(self.file) as new:
                write_json_lines(new, [{"prompt": key, "text": text} for key, text in self.texts.items()])
            self.is_new = False


def _text(fields: Fields, name: str) -> str:
    value = fields.value(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value
