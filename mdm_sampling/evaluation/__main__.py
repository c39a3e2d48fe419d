"""`python -m mdm_sampling.evaluation` is the command `lm_eval`, in which the model `mdm-sampling` is known.

The harness looks for models in its own list only, so somebody has to import ours first.
"""

import sys

MISSING = 'lm-evaluation-harness is not installed; pip install "mdm-sampling[lm-eval]"'

if __name__ == "__main__":
    try:
        from lm_eval.__main__ import cli_evaluate
    except ImportError:
        sys.exit(MISSING)
    from ..errors import MDMError
    from . import harness as harness

    try:
        cli_evaluate()
    except MDMError as error:
        sys.exit(f"Error: {error}")
