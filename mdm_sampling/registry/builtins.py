"""The built-in parts, registered through the same hooks as everybody else's."""

from ..backends.embedded import Embedded
from ..backends.families.a2d import A2D
from ..backends.families.adapted import DiffuLLaMA, OpenDCoder
from ..backends.families.bert import BERT
from ..backends.families.dream import Dream
from ..backends.families.dream_reasoner import DreamReasoner
from ..backends.families.fast_dllm import FastDLLM
from ..backends.families.illada import ILLaDA
from ..backends.families.llada import LLaDA
from ..backends.families.llada2 import LLaDA2
from ..backends.families.llada_moe import LLaDAMoE
from ..backends.families.mmada import MMaDA
from ..backends.families.rnd1 import RND1
from ..backends.families.sdar import SDAR, SDARMoE
from ..backends.families.stable_diffcoder import StableDiffCoder
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
    register("sdar", SDAR)
    register("sdar-moe", SDARMoE)
    register("a2d", A2D)
    register("llada2", LLaDA2)
    register("llada-moe", LLaDAMoE)
    register("mmada", MMaDA)
    register("fast-dllm", FastDLLM)
    register("dream-reasoner", DreamReasoner)
    register("illada", ILLaDA)
    register("stable-diffcoder", StableDiffCoder)
    register("rnd1", RND1)
    register("bert", BERT)
    register("open-dcoder", OpenDCoder)
    register("diffullama", DiffuLLaMA)


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
