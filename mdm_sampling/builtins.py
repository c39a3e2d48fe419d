"""The built-in parts, registered through the same hooks as everybody else's."""

from .backends.dream import Dream
from .backends.embedded import Embedded
from .backends.llada import LLaDA
from .caches.dual import DualCache
from .caches.none import NoCache
from .caches.prefix import PrefixCache
from .caches.refresh import Refresh
from .hookspecs import Register, hookimpl
from .planners.bypass import Bypass
from .planners.confidence import Confidence
from .planners.defer import Defer
from .planners.entropy import Entropy
from .planners.info_gain import InfoGain
from .planners.left_to_right import LeftToRight
from .planners.margin import Margin
from .planners.random import Random
from .processors.ban import Ban
from .processors.penalise import Penalise
from .schedules.constant import Constant
from .schedules.cosine import Cosine
from .schedules.linear import Linear
from .schedules.uniform import Uniform
from .tasks.countdown import Countdown
from .tasks.jsonl import JSONLines
from .tasks.reasoning_gym import ReasoningGym
from .tasks.sudoku import Sudoku
from .token_samplers.greedy import Greedy
from .token_samplers.gumbel import GumbelMax


@hookimpl
def register_backends(register: Register) -> None:
    register("embedded", Embedded)
    register("llada", LLaDA)
    register("dream", Dream)


@hookimpl
def register_caches(register: Register) -> None:
    register("none", NoCache)
    register("prefix", PrefixCache)
    register("dual", DualCache)
    register("refresh", Refresh)


@hookimpl
def register_planners(register: Register) -> None:
    register("random", Random)
    register("left-to-right", LeftToRight)
    register("confidence", Confidence)
    register("margin", Margin)
    register("entropy", Entropy)
    register("info-gain", InfoGain)
    register("bypass", Bypass)
    register("defer", Defer)


@hookimpl
def register_token_samplers(register: Register) -> None:
    register("greedy", Greedy)
    register("gumbel", GumbelMax)


@hookimpl
def register_schedules(register: Register) -> None:
    register("uniform", Uniform)
    register("linear", Linear)
    register("cosine", Cosine)
    register("constant", Constant)


@hookimpl
def register_processors(register: Register) -> None:
    register("ban", Ban)
    register("penalise", Penalise)


@hookimpl
def register_tasks(register: Register) -> None:
    register("sudoku", Sudoku)
    register("countdown", Countdown)
    register("jsonl", JSONLines)
    register("reasoning-gym", ReasoningGym)
