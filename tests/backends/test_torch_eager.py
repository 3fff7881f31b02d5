from __future__ import annotations

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
from harness.backends.tensor_formats import precision_of
from harness.backends.torch_eager import to_arrays

torch = pytest.importorskip("torch")
BACKEND = BACKENDS.get("torch")


@pytest.fixture(autouse=True)
def _restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_threads_are_read_back(lowered):
    for threads in (2, 1):
        session = BACKEND.load(lowered(BACKEND), SessionOptions(threads, {}))
        assert session.executed()["threads"] == threads == torch.get_num_threads()
        assert session.executed()["interop_threads"] == 1
    assert BACKEND.environment(2, {}) == {"OMP_NUM_THREADS": "2"}
    bound = {"OMP_NUM_THREADS": "2", "OMP_PROC_BIND": "true", "OMP_PLACES": "{4},{5}"}
    assert BACKEND.environment(2, {}, [4, 5]) == bound
    assert "OMP_PROC_BIND" not in BACKEND.environment(1, {}, [5])
    assert "OMP_PROC_BIND" not in BACKEND.environment(4, {}, [4, 5])


def test_channels_last_gives_the_same_outputs(lowered, digits):
    batch = digits.data("test").batch(8)
    plain, last = (
        BACKEND.load(lowered(BACKEND), SessionOptions(1, {"channels_last": value})) for value in (False, True)
    )
    np.testing.assert_allclose(last(batch)[0], plain(batch)[0], rtol=1e-4, atol=1e-4)
    assert last.executed()["channels_last"] is True


def test_the_artifact_runs_in_a_fresh_process_at_any_batch_size(lowered, fresh_python):
    code = f"""
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
session = BACKENDS.get("torch").load(Path({str(lowered(BACKEND))!r}), SessionOptions(1, {{}}))
print(session((np.zeros((5, 1, 8, 8), np.float32),))[0].shape, session.executed()["threads"])
"""
    assert fresh_python(code) == "(5, 10) 1\n"


def test_bfloat16_outputs_become_float32_arrays(request_for):
    request = request_for()
    BACKEND.lower(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).bfloat16(), request)
    session = BACKEND.load(request.directory, SessionOptions(1, {}))
    session._module.register_forward_pre_hook(lambda _m, args: tuple(a.bfloat16() for a in args))
    (outputs,) = session(request.example_inputs)
    assert outputs.dtype == np.float32
    assert session.executed()["precision"] == "bfloat16"


def test_lowering_switches_to_evaluation_mode(request_for):
    request = request_for()
    BACKEND.lower(torch.nn.Dropout(0.5).train(), request)
    session = BACKEND.load(request.directory, SessionOptions(1, {}))
    np.testing.assert_array_equal(session(request.example_inputs)[0], request.example_inputs[0])


def test_a_tensor_a_sequence_and_a_mapping_all_become_a_tuple_of_arrays():
    ones = torch.ones(2)
    for outputs, n in [(ones, 1), ([ones, ones], 2), ({"a": ones, "b": ones}, 2)]:
        assert [array.tolist() for array in to_arrays(outputs)] == [[1.0, 1.0]] * n


def test_mixed_precision_names_every_format():
    mixed = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).bfloat16())
    assert precision_of(mixed) == "bfloat16+float32"
    assert precision_of(torch.nn.ReLU()) == "no parameters"
