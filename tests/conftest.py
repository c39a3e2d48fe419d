"""Shared fixtures: tiny random checkpoints in the published formats, deterministic settings, processes and skips."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs the network is a broken test
# Read when torch is imported, here and in the processes that tests start. Matrices as small as ours are no faster on
# two threads, and many times slower where another process wants the second core.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from extras import missing
from hypothesis import HealthCheck, settings
from naive import NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm

settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process for each of up to four cores; this one alone where only files or tests are named, which are few."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if named and all(".py" in name for name in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores) if cores > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs"):
            if reason := missing(mark.args[0]):
                item.add_marker(pytest.mark.skip(reason=reason))


Report = pytest.TestReport | pytest.CollectReport


def not_skipped(report: Report) -> Report:
    """With MDM_NO_SKIPS=1 a skip is a failure."""
    if report.skipped and os.environ.get("MDM_NO_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"MDM_NO_SKIPS is set, but this was skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Report, Report]:
    return not_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    return not_skipped((yield))


def note_skip(report: Report) -> None:
    """Add what is skipped to the file MDM_SKIPPED, a line each, so that `pytest @FILE` runs these tests alone."""
    if report.skipped and "MDM_SKIPPED" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["MDM_SKIPPED"], "a") as file:
            file.write(f"{report.nodeid}\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    note_skip(report)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Benchmarks and recipes set the number of threads; the next test must not inherit it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llada_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llada(NaiveLLaDA(seed=0), tmp_path_factory.mktemp("llada"))


@pytest.fixture(scope="session")
def dream_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dream(NaiveDream(seed=0), tmp_path_factory.mktemp("dream"))


@pytest.fixture(scope="session")
def base() -> mdm.Sampler:
    """The embedded model with the default sampler; a sampler is never changed."""
    return mdm.load()
