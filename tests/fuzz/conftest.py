"""How many cases are tried: a few of each kind, always the same; in `make fuzz` many others."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

ROOM = 4 << 30  # bytes that reading may take beyond what the process has

set_hypothesis_home_dir(tempfile.mkdtemp())  # nothing of it stays in the checkout
settings.register_profile(
    "few",
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("many", settings.get_profile("few"), derandomize=False, max_examples=360)
settings.load_profile(os.environ.get("AEFLOW_FUZZ", "few"))

# Limits of time and memory, and names of any bytes, are Linux's.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def little_memory():
    """What blows up ends in a MemoryError, not in a machine that swaps."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def a_run(write_run):
    """One finished run, for all cases of a test."""
    return write_run()
