from __future__ import annotations

import pytest

from harness.exported import computing_layers, integer_layers

torch = pytest.importorskip("torch")


def test_layers_that_compute_are_counted_before_and_after_decomposition():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 3))
    with torch.no_grad():
        program = torch.export.export(net.eval(), (torch.zeros(1, 1, 8, 8),))
    assert len(computing_layers(program.graph)) == 2
    assert len(computing_layers(program.run_decompositions().graph)) == 2
    assert integer_layers(program.graph) == []
