"""Watching a canvas being decoded, in a terminal."""

from .screen import Screen as Screen
from .screen import Watcher as Watcher
