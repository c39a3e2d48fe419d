"""The conformance kit: what a part must hold, checked on small exact models that need no weights.

As in::

    from mdm_sampling.testing import check_planner

    def test_it_conforms():
        check_planner(TopMass(k=3))

Each check draws cases with Hypothesis: models, caches, schedules, batches of one to four rows of different lengths. A
failure is a `ConformanceError` that says what was expected, what came, and the smallest case that shows it. On the
command line: `mdm-sampling plugins check NAME`. Needs the extra `testing`.
"""

from ..errors import MDMError

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise MDMError("the conformance kit needs hypothesis: pip install 'mdm-sampling[testing]'") from error

from .backend import check_backend as check_backend
from .cache import check_cache as check_cache
from .cases import Case as Case
from .draft_shape import check_draft_shape as check_draft_shape
from .planner import check_planner as check_planner
from .processor import check_processor as check_processor
from .rules import ConformanceError as ConformanceError
from .rules import Rule as Rule
from .schedule import check_schedule as check_schedule
from .task import check_task as check_task
from .token_sampler import check_token_sampler as check_token_sampler
