"""Tensor parallelism: processes that each hold a part of every layer run the same forwards together.

In a script that torchrun starts, every process calls the sampler with the same arguments, and all get the same result.
Where only one may read the input and write the output, as on the command line, that one leads: what it asks of its
model it sends to the others first, and they do nothing but follow.

Leading is experimental: it was tried on CPUs only. It sends hidden states by gloo for each chunk of logits, which costs
time, and whatever is below `Channel` in this file may change or go.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any, final
from weakref import finalize

import torch
from torch import Tensor
from torch import distributed as dist

from ..canvas import Canvas, Span
from ..errors import MDMError, ModelError, ProcessLost
from .base import ModelBackend, Slots


def follows() -> bool:
    """Whether this process is one of several that torchrun started, and not the first."""
    return int(os.environ.get("RANK", "0")) > 0


def distributed_config(tp_plan: Any) -> Any:
    """What lets transformers split a model over torchrun's processes. Raises `ModelError` where there is but one."""
    from transformers.distributed import DistributedConfig

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise ModelError(
            f"tp_plan={tp_plan!r} splits a model over processes, and there is one; start several, "
            "such as: torchrun --nproc-per-node 2 -m mdm_sampling generate --tp-plan auto ..."
        )
    try:
        return DistributedConfig(tp_plan=tp_plan)
    except TypeError as error:
        raise ModelError("tp_plan needs a newer transformers") from error


@final
class Channel:
    """Messages from the first process to all others, apart from the traffic of the model itself."""

    def __init__(self) -> None:
        self.group = dist.new_group(backend="gloo")

    def send(self, message: Any) -> None:
        dist.broadcast_object_list([message], src=0, group=self.group)

    def receive(self) -> Any:
        messages = [None]
        dist.broadcast_object_list(messages, src=0, group=self.group)
        return messages[0]


@final
class _LedSlots(Slots):
    """The leader's slots, and the number by which the followers know theirs."""

    def __init__(self, leader: Leader, own: Slots) -> None:
        self.leader = leader
        self.own = own
        self.number = next(leader.numbers)
        # Garbage may be collected at any moment, so what is unused is told with the next message.
        finalize(self, leader.unused.append, self.number)

    def select(self, rows: Tensor) -> _LedSlots:
        chosen = _LedSlots(self.leader, self.own.select(rows))
        self.leader.tell("select", self.number, chosen.number, rows.cpu())
        return chosen

    def copied(self, rows: Tensor) -> _LedSlots:
        chosen = _LedSlots(self.leader, self.own.copied(rows))
        self.leader.tell("copied", self.number, chosen.number, rows.cpu())
        return chosen


@final
class Leader(ModelBackend):
    """The model in the process that leads. Each call is sent to the followers and then made here as well.

    Args:
        backend: the model, of which this process holds a part.
        channel: leads to the followers.
    """

    def __init__(self, backend: ModelBackend, channel: Channel) -> None:
        self.backend = backend
        for name in ModelBackend.__annotations__:
            setattr(self, name, getattr(backend, name))
        self.channel = channel
        self.numbers = count()
        self.unused: list[int] = []
        self.lost: BaseException | None = None

    def trunk(self, canvas: Canvas, span: Span, slots: Slots | None, rows: Tensor | None = None) -> Tensor:
        own, number = (slots.own, slots.number) if isinstance(slots, _LedSlots) else (None, None)
        self.tell("trunk", _moved(canvas, "cpu"), span, number, None if rows is None else rows.cpu())
        return self._together(lambda: self.backend.trunk(canvas, span, own, rows))

    def head(self, hidden: Tensor) -> Tensor:
        self.tell("head", hidden.cpu())
        return self._together(lambda: self.backend.head(hidden))

    def allocate(self) -> Slots:
        slots = _LedSlots(self, self.backend.allocate())
        self.tell("allocate", slots.number)
        return slots

    def positions_computed(self, span: Span, length: int) -> int:
        return self.backend.positions_computed(span, length)

    @property
    def dtype(self) -> torch.dtype | None:
        return self.backend.dtype

    def fingerprint(self) -> str | None:
        return self.backend.fingerprint()

    def stop(self) -> None:
        """Let the followers go."""
        if self.lost is None:
            self.channel.send(None)

    def tell(self, call: str, *arguments: Any) -> None:
        unused, self.unused[:] = list(self.unused), []
        self.channel.send((call, arguments, unused))

    def _together(self, forward: Callable[[], Tensor]) -> Tensor:
        """A forward that the followers make as well. If it fails here alone they wait for ever: nothing can go on."""
        try:
            return forward()
        except MDMError:
            raise  # a refusal, for which the followers have the same reason
        except Exception as error:
            self.lost = error
            raise ProcessLost(f"one of the processes that share the model failed: {error}") from error


@final
class Follower:
    """The model in a process that does what the leader's messages say, with slots of its own."""

    def __init__(self, backend: ModelBackend) -> None:
        self.backend = backend
        self.slots: dict[int, Slots] = {}

    def allocate(self, number: int) -> None:
        self.slots[number] = self.backend.allocate()

    def select(self, of: int, number: int, rows: Tensor) -> None:
        self.slots[number] = self.slots[of].select(rows.to(self.backend.device))

    def copied(self, of: int, number: int, rows: Tensor) -> None:
        self.slots[number] = self.slots[of].copied(rows.to(self.backend.device))

    def trunk(self, canvas: Canvas, span: Span, number: int | None, rows: Tensor | None) -> None:
        device = self.backend.device
        slots = None if number is None else self.slots[number]
        self.backend.trunk(_moved(canvas, device), span, slots, None if rows is None else rows.to(device))

    def head(self, hidden: Tensor) -> None:
        self.backend.head(hidden.to(self.backend.device))

    @torch.no_grad()
    def obey(self, message: Any) -> None:
        """Do what one message says."""
        call, arguments, unused = message
        for number in unused:
            self.slots.pop(number, None)
        with suppress(MDMError):  # the leader was refused the same, and says so
            getattr(self, call)(*arguments)


def follow(backend: ModelBackend) -> None:
    """Make the leader's forwards until it stops."""
    channel, follower = Channel(), Follower(backend)
    while (message := channel.receive()) is not None:
        follower.obey(message)


def _moved(canvas: Canvas, device: torch.device | str) -> Canvas:
    return replace(canvas, tokens=canvas.tokens.to(device), valid=canvas.valid.to(device))
