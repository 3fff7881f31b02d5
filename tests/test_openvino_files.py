from __future__ import annotations

from harness.openvino_files import Settings, ir_weights, model_file, read_settings, write_settings

IR = """<?xml version="1.0"?>
<net name="tiny" version="11"><layers>
<layer id="0" name="x" type="Parameter"><data shape="1,4" element_type="f32"/></layer>
<layer id="1" name="w" type="Const"><data element_type="i8" shape="3,4" offset="0" size="12"/></layer>
<layer id="2" name="again" type="Const"><data element_type="i8" shape="3,4" offset="0" size="12"/></layer>
<layer id="3" name="s" type="Const"><data element_type="f32" shape="3,1" offset="12" size="12"/></layer>
<layer id="4" name="v" type="Const"><data element_type="u4" shape="4,4" offset="24" size="8"/></layer>
</layers></net>"""


def test_settings_are_read_as_they_were_written_and_default_where_there_are_none(tmp_path):
    assert read_settings(tmp_path) == Settings()
    settings = Settings(precision="bf16", weights="int4", quantize_activations=False)
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings


def test_openvinos_own_format_wins_over_the_onnx_file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    assert model_file(tmp_path).name == "model.onnx"
    (tmp_path / "model.xml").write_text(IR)
    assert model_file(tmp_path).name == "model.xml"


def test_weights_count_by_format_and_shared_bytes_once(tmp_path):
    (tmp_path / "model.xml").write_text(IR)
    assert ir_weights(tmp_path / "model.xml") == {"int8": 12, "float32": 12, "int4": 8}
