"""What samplers are compared on: items with a prompt or a canvas, and an exact grader. One task, one file.

What the built-in tasks draw their items with is here by name, for whoever trains a model on them.
"""

from .arithmetic import Problem as Problem
from .arithmetic import random_problem as random_problem
from .grids import BOXES as BOXES
from .grids import as_text as as_text
from .grids import dig as dig
from .grids import random_grid as random_grid
from .grids import solutions as solutions
from .split import is_held_out as is_held_out
