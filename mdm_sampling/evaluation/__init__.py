"""Evaluating samplers: likelihoods, and lm-evaluation-harness (extra `lm-eval`), whose model class is in `harness`."""

from .likelihood import Estimate as Estimate
from .likelihood import GreedyCheck as GreedyCheck
from .likelihood import greedy_checks as greedy_checks
from .likelihood import log_likelihoods as log_likelihoods
from .seeds import answer_seed as answer_seed
