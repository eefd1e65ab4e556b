"""What all tests share: one thread, and the runs and competitions of `helpers.runs`."""

import os
import signal

import pytest
import torch
from threadpoolctl import threadpool_limits

pytest_plugins = ["helpers.runs"]


@pytest.fixture(autouse=True, scope="session")
def nothing_of_an_outer_make():
    """A `make` that tests start is the user's own, also when `make test` runs the tests."""
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard():
    """A script's background job ignores Ctrl-C, and so would everything that tests start and stop."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Nets and matrices of the tests are so small that threads only wait for each other, busily."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    with threadpool_limits(1):  # NumPy's and SciPy's
        yield
    torch.set_num_threads(before)
