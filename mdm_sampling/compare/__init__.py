"""Compare samplers on a task: the same items and seeds for all, resumable, with intervals, a report and plots.

As in::

    import mdm_sampling as mdm
    from mdm_sampling.compare import compare, grid

    found = compare(mdm.load(), mdm.build("tasks", "sudoku"), grid(["confidence", "info-gain"], tokens_per_step=[2]))
    print(found.markdown())
"""

from .comparison import Comparison as Comparison
from .engine import compare as compare
from .engine import row_of as row_of
from .frontier import Curve as Curve
from .settings import Setting as Setting
from .settings import grid as grid
from .statistics import Summary as Summary
