from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import InvalidOutputError
from harness.passes import PASSES

torch = pytest.importorskip("torch")
CastBFloat16 = PASSES.get("cast.bfloat16")


@pytest.fixture(scope="module")
def cast(network, context):
    return CastBFloat16().apply_module(network, context)


def test_weights_become_bfloat16_and_the_border_stays_float32(cast, network, digits):
    module, change = cast
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    inputs = torch.from_numpy(digits.data("test").inputs[0])
    with torch.inference_mode():
        outputs, reference = module(inputs), network(inputs)
    assert outputs.dtype == torch.float32
    assert torch.linalg.norm(outputs - reference) / torch.linalg.norm(reference) < 0.05
    count = sum(p.numel() for p in network.parameters())
    assert change.detail == f"{count:,} parameters cast; inputs and outputs stay float32"


def test_the_module_it_was_given_stays_float32(cast, network):
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_cast_module_loads_in_a_fresh_process(cast, tmp_path):
    torch.save(cast[0], tmp_path / "module.pt")
    code = (
        f"import torch; m = torch.load({str(tmp_path / 'module.pt')!r}, weights_only=False);"
        "assert m(torch.zeros(2, 1, 8, 8)).dtype == torch.float32"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_integer_inputs_pass_and_every_floating_output_is_cast(context):
    class Lookup(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)

        def forward(self, index):
            rows = self.table(index)
            return {"rows": rows, "pair": (rows.sum(), index)}

    module, _ = CastBFloat16().apply_module(Lookup(), context)
    outputs = module(torch.tensor([1, 2]))
    assert outputs["rows"].dtype == torch.float32
    assert outputs["pair"][0].dtype == torch.float32
    assert outputs["pair"][1].dtype == torch.int64


def test_casting_what_has_no_wider_parameters_is_invalid(cast, context):
    with pytest.raises(InvalidOutputError, match="changed nothing"):
        CastBFloat16().apply_module(cast[0], context)
