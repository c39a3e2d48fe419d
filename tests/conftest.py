"""Shared fixtures: tiny random checkpoints in the published formats, and deterministic settings."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs the network is a broken test

from pathlib import Path

import pytest
import torch
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
# With a worker of pytest-xdist beside it, a process has a core of its own.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


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
