from __future__ import annotations

import pytest

from harness.backends.base import first_line, raise_if_out_of_memory
from harness.errors import OutOfMemoryError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed to allocate memory for requested buffer of size 4096"),
        RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"),
    ],
)
def test_what_runtimes_say_when_memory_runs_out_is_recognized(error):
    with pytest.raises(OutOfMemoryError) as caught:
        raise_if_out_of_memory(error)
    assert caught.value.__cause__ is error


def test_other_errors_pass():
    raise_if_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_the_first_line_of_an_error_has_no_colors_and_never_is_empty():
    assert first_line(RuntimeError("\n\x1b[31m  no kernel \x1b[0m\nat line 3")) == "no kernel"
    assert first_line(ValueError()) == "ValueError"
