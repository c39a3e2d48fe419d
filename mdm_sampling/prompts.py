"""What a prompt is: a text, or the messages of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Message = Mapping[str, str]
Prompt = str | Sequence[Message]
