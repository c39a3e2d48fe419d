"""What was seen of a decoding: films, whose frames are its steps, and the lines of JSON in which they are kept."""

from .film import Film as Film
from .film import Frame as Frame
from .film import Move as Move
from .keeper import FilmKeeper as FilmKeeper
from .lines import Trace as Trace
from .lines import read_trace as read_trace
