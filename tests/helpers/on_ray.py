"""Runs commands one after the other on one Ray cluster, which takes longer to start than they do.

    python on_ray.py '[["run", ...], ["compare", ...]]'

Prints a line for each: its exit code and its output, as JSON.
"""

import json
import logging
import sys

import ray
from click.testing import CliRunner

from mdm_sampling.cli import main

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    for arguments in json.loads(sys.argv[1]):
        done = CliRunner().invoke(main, arguments)
        print(json.dumps([done.exit_code, done.output]))
