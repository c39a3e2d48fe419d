"""The built-in parts, registered through the same hooks as everybody else's."""

from ..backends.families.dream import Dream
from ..backends.embedded import Embedded
from ..backends.families.llada import LLaDA
from ..caches import DualCache, NoCache, PrefixCache, Refresh
from ..planners.bounded_chain import BoundedChain
from ..planners.bypass import Bypass
from ..planners.defer import Defer
from ..planners.draft_shapes import Lattice, OwnSteps, Prefixes
from ..planners.eb import EBSampler
from ..planners.factor import Factor
from ..planners.info_gain import InfoGain
from ..planners.scores import Confidence, Entropy, LeftToRight, Margin, Random
from ..planners.speculate import Speculate
from ..processors import Ban, Penalise
from ..schedules import Constant, Cosine, Linear, Uniform
from ..tasks.countdown import Countdown
from ..tasks.jsonl import JSONLines
from ..tasks.reasoning_gym import ReasoningGym
from ..tasks.sudoku import Sudoku
from ..token_samplers import Greedy, GumbelMax
from .hookspecs import Register, hookimpl


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
    register("eb", EBSampler)
    register("factor", Factor)
    register("info-gain", InfoGain)
    register("bounded-chain", BoundedChain)
    register("speculate", Speculate)
    register("bypass", Bypass)
    register("defer", Defer)


@hookimpl
def register_draft_shapes(register: Register) -> None:
    register("prefixes", Prefixes)
    register("lattice", Lattice)
    register("own-steps", OwnSteps)


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
