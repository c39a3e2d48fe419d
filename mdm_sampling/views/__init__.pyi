"""The names of this room, each listed here and nowhere else."""

from .page import write_page as write_page
from .plots import plot_candidates as plot_candidates
from .plots import plot_entropy as plot_entropy
from .plots import plot_order as plot_order
from .terminal.screen import Screen as Screen
from .terminal.screen import Watcher as Watcher
