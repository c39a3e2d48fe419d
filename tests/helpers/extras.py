"""What some tests need beyond the extra `test`, and whether it is here.

`pytest -m needs` runs these tests alone. With MDM_NO_SKIPS=1 a test that is skipped is a failure, and tests that take a
minute run as well.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

EXTRAS = {"accelerate": "accelerate", "lm-eval": "lm_eval", "ray": "ray"}  # each with a module that it brings
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")


def needs(what: str) -> pytest.MarkDecorator:
    """The mark of a test that needs an extra, a browser, a compiler, /dev/full or a minute."""
    return pytest.mark.needs(what)


def missing(what: str) -> str | None:
    """Why a test that needs this is skipped; None where it can run."""
    if what in EXTRAS:
        return None if find_spec(EXTRAS[what]) else f"needs the extra `{what}`"
    here, reason = {
        "browser": (
            find_spec("selenium") is not None and CHROMIUM.exists() and DRIVER.exists(),
            f"needs a browser: selenium, {CHROMIUM} and {DRIVER}",
        ),
        "compiler": (shutil.which("g++") is not None, "needs a C++ compiler, with which torch.compile works on a CPU"),
        "a minute": (os.environ.get("MDM_NO_SKIPS") == "1", "takes a minute; set MDM_NO_SKIPS=1"),
        "/dev/full": (Path("/dev/full").exists(), "needs /dev/full"),
    }[what]
    return None if here else reason
