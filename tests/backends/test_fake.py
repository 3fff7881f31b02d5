from __future__ import annotations

import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest, SessionOptions
from harness.schema import Execution

BACKEND = BACKENDS.get("fake")


class _Module:
    scale = 1.0


@pytest.mark.parametrize("options", [{}, {"format": "int8"}])
def test_the_fake_tells_a_known_execution(options, tmp_path):
    BACKEND.lower(_Module(), LowerRequest((), (), (), tmp_path, options))
    how = SessionOptions(1, options)
    told = BACKEND.profile(tmp_path, how, BACKEND.load(tmp_path, how), [], 5)
    assert isinstance(told, Execution)
    assert told.formats == {options.get("format", "float32"): 1.0}
    assert told.share("conversion") == 0.15
    assert (told.basis, told.calls, told.outside_share) == ("time", 5, 0.2)
