"""`python -m mdm_sampling`."""

from .cli import main

main()
