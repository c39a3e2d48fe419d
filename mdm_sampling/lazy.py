"""torch, imported when it is first used.

Parts are named, described and listed without it, and importing it takes more than a second. So the files of parts and
what they stand on take `torch` from here, and `Tensor` for type checkers alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _Torch:
        def __getattr__(self, name: str) -> Any:
            module = self.__dict__.get("module")
            if module is None:
                module = self.__dict__["module"] = import_module("torch")
            return getattr(module, name)

    torch = _Torch()
