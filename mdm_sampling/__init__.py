"""Samplers for masked diffusion models, from parts that can be swapped.

    import mdm_sampling as mdm
    sampler = mdm.load("embedded")
    print(sampler.generate("1... ..3. .1.. ...4").texts[0])

Names are loaded on first use, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "BackendFamily": "interfaces",
    "Ban": "processors.ban",
    "Bypass": "planners.bypass",
    "CacheStrategy": "interfaces",
    "CallableBackend": "backends.memory",
    "Candidates": "records",
    "Canvas": "records",
    "CanvasError": "errors",
    "Confidence": "planners.confidence",
    "Constant": "schedules.constant",
    "ContractError": "errors",
    "Cosine": "schedules.cosine",
    "Countdown": "tasks.countdown",
    "Defer": "planners.defer",
    "Dream": "backends.dream",
    "DualCache": "caches.dual",
    "Embedded": "backends.embedded",
    "Entropy": "planners.entropy",
    "Filled": "records",
    "Grade": "records",
    "Greedy": "token_samplers.greedy",
    "GumbelMax": "token_samplers.gumbel",
    "InfoGain": "planners.info_gain",
    "Item": "records",
    "JSONLines": "tasks.jsonl",
    "LLaDA": "backends.llada",
    "LeftToRight": "planners.left_to_right",
    "Linear": "schedules.linear",
    "LoadOptions": "backends.options",
    "MDMError": "errors",
    "Margin": "planners.margin",
    "ModelBackend": "interfaces",
    "ModelError": "errors",
    "Needs": "interfaces",
    "NoCache": "caches.none",
    "Observer": "sampler",
    "Penalise": "processors.penalise",
    "Plan": "records",
    "PositionPlanner": "interfaces",
    "Prediction": "prediction",
    "PredictionError": "errors",
    "PrefixCache": "caches.prefix",
    "Processor": "interfaces",
    "Proposal": "records",
    "Random": "planners.random",
    "ReasoningGym": "tasks.reasoning_gym",
    "Refresh": "caches.refresh",
    "Register": "hookspecs",
    "Result": "records",
    "RowNoise": "randomness",
    "RowReport": "records",
    "Sampler": "sampler",
    "Schedule": "interfaces",
    "ScorePlanner": "interfaces",
    "Slots": "interfaces",
    "Span": "records",
    "SpecError": "errors",
    "Step": "interfaces",
    "StepRecord": "records",
    "Sudoku": "tasks.sudoku",
    "Task": "interfaces",
    "TokenSampler": "interfaces",
    "Trace": "trace",
    "read_trace": "replay",
    "TransformerBackend": "backends.transformer",
    "Uniform": "schedules.uniform",
    "build": "specs",
    "check_fields": "kinds",
    "describe": "specs",
    "from_spec": "specs",
    "hookimpl": "hookspecs",
    "load": "loading",
    "load_backend": "loading",
    "top_positions": "interfaces",
    "wrap": "backends.memory",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


if TYPE_CHECKING:
    from .backends.dream import Dream as Dream
    from .backends.embedded import Embedded as Embedded
    from .backends.llada import LLaDA as LLaDA
    from .backends.memory import CallableBackend as CallableBackend
    from .backends.memory import wrap as wrap
    from .backends.options import LoadOptions as LoadOptions
    from .backends.transformer import TransformerBackend as TransformerBackend
    from .caches.dual import DualCache as DualCache
    from .caches.none import NoCache as NoCache
    from .caches.prefix import PrefixCache as PrefixCache
    from .caches.refresh import Refresh as Refresh
    from .errors import CanvasError as CanvasError
    from .errors import ContractError as ContractError
    from .errors import MDMError as MDMError
    from .errors import ModelError as ModelError
    from .errors import PredictionError as PredictionError
    from .errors import SpecError as SpecError
    from .hookspecs import Register as Register
    from .hookspecs import hookimpl as hookimpl
    from .interfaces import BackendFamily as BackendFamily
    from .interfaces import CacheStrategy as CacheStrategy
    from .interfaces import ModelBackend as ModelBackend
    from .interfaces import Needs as Needs
    from .interfaces import PositionPlanner as PositionPlanner
    from .interfaces import Processor as Processor
    from .interfaces import Schedule as Schedule
    from .interfaces import ScorePlanner as ScorePlanner
    from .interfaces import Slots as Slots
    from .interfaces import Step as Step
    from .interfaces import Task as Task
    from .interfaces import TokenSampler as TokenSampler
    from .interfaces import top_positions as top_positions
    from .kinds import check_fields as check_fields
    from .loading import load as load
    from .loading import load_backend as load_backend
    from .planners.bypass import Bypass as Bypass
    from .planners.confidence import Confidence as Confidence
    from .planners.defer import Defer as Defer
    from .planners.entropy import Entropy as Entropy
    from .planners.info_gain import InfoGain as InfoGain
    from .planners.left_to_right import LeftToRight as LeftToRight
    from .planners.margin import Margin as Margin
    from .planners.random import Random as Random
    from .prediction import Prediction as Prediction
    from .processors.ban import Ban as Ban
    from .processors.penalise import Penalise as Penalise
    from .randomness import RowNoise as RowNoise
    from .records import Candidates as Candidates
    from .records import Canvas as Canvas
    from .records import Filled as Filled
    from .records import Grade as Grade
    from .records import Item as Item
    from .records import Plan as Plan
    from .records import Proposal as Proposal
    from .records import Result as Result
    from .records import RowReport as RowReport
    from .records import Span as Span
    from .records import StepRecord as StepRecord
    from .replay import read_trace as read_trace
    from .sampler import Observer as Observer
    from .sampler import Sampler as Sampler
    from .schedules.constant import Constant as Constant
    from .schedules.cosine import Cosine as Cosine
    from .schedules.linear import Linear as Linear
    from .schedules.uniform import Uniform as Uniform
    from .specs import build as build
    from .specs import describe as describe
    from .specs import from_spec as from_spec
    from .tasks.countdown import Countdown as Countdown
    from .tasks.jsonl import JSONLines as JSONLines
    from .tasks.reasoning_gym import ReasoningGym as ReasoningGym
    from .tasks.sudoku import Sudoku as Sudoku
    from .token_samplers.greedy import Greedy as Greedy
    from .token_samplers.gumbel import GumbelMax as GumbelMax
    from .trace import Trace as Trace
