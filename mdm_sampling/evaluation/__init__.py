"""Evaluating samplers: likelihoods, and lm-evaluation-harness (extra `lm-eval`), whose model class is in `harness`.

As in::

    import mdm_sampling as mdm
    from mdm_sampling.evaluation import evaluate

    found = evaluate(mdm.load("GSAI-ML/LLaDA-8B-Instruct"), ["gsm8k"], apply_chat_template=True, folder="evaluations")
    print(found.tables)
"""

from .likelihood import Estimate as Estimate
from .likelihood import GreedyCheck as GreedyCheck
from .likelihood import greedy_checks as greedy_checks
from .likelihood import log_likelihoods as log_likelihoods
from .run import Evaluation as Evaluation
from .run import HarnessTasks as HarnessTasks
from .run import evaluate as evaluate
from .run import load_tasks as load_tasks
from .seeds import answer_seed as answer_seed
