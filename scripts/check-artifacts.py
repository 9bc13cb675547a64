"""Holds artifacts against ONNX's checker and runs their graphs under Python's ONNX Runtime on a batch of random tokens.
Those of the form ort-training are evaluated alone, with the parameters of their checkpoint: training them takes a
training build.

python scripts/check-artifacts.py FOLDER...   (needs onnx, onnxruntime, flatbuffers, safetensors, numpy)
"""

import json
import sys
from pathlib import Path

import flatbuffers.table
import numpy as np
import onnx
import onnxruntime
from flatbuffers import number_types
from safetensors.numpy import load_file

ROWS, COLUMNS = 2, 24
GRAPHS = ("training", "evaluation", "optimizer")


def session(folder, manifest, name):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if manifest["weightsFolder"] is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", manifest["weightsFolder"]
        )
    path = str(folder / manifest[name]["file"])
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check_form(folder, manifest):
    """The checker follows external data only within the model's folder, so it takes a copy and no reference."""
    if manifest["weightsFolder"] is not None:
        return "not for the checker"
    for name in GRAPHS:
        onnx.checker.check_model(str(folder / manifest[name]["file"]), full_check=True)
    return "checker passed"


def check_values(stated, found, feeds):
    assert [value["name"] for value in stated] == [value.name for value in found]
    for value, actual in zip(stated, found):
        assert actual.type == {"float32": "tensor(float)", "int64": "tensor(int64)"}[value["dtype"]], actual.name
        if feeds is not None:
            rank = len(feeds[actual.name].shape)
            assert len(value["shape"]) == rank, (actual.name, value["shape"])


def field(table, index):
    """Where a field of a FlatBuffers table is, or None."""
    offset = table.Offset(4 + 2 * index)
    return None if offset == 0 else table.Pos + offset


def checkpoint_tensors(path):
    """The float32 tensors of a checkpoint of orttraining, read by the FlatBuffers library."""
    content = path.read_bytes()
    assert content[4:8] == b"ODTC"
    root = flatbuffers.table.Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
    assert root.Get(number_types.Int32Flags, field(root, 0)) == 2
    state = flatbuffers.table.Table(content, root.Indirect(field(root, 1)))
    for index in (0, 1):
        offset = field(state, index) - state.Pos
        start = state.Vector(offset)
        for at in range(state.VectorLen(offset)):
            tensor = flatbuffers.table.Table(content, state.Indirect(start + 4 * at))
            name = tensor.String(field(tensor, 0)).decode()
            dims = tensor.GetVectorAsNumpy(number_types.Int64Flags, field(tensor, 2) - tensor.Pos)
            assert tensor.Get(number_types.Int32Flags, field(tensor, 3)) == onnx.TensorProto.FLOAT
            raw = tensor.GetVectorAsNumpy(number_types.Uint8Flags, field(tensor, 4) - tensor.Pos)
            yield name, raw.view(np.float32).reshape(dims)


def check_ort_training(folder, manifest):
    for name in GRAPHS:
        onnx.checker.check_model(str(folder / manifest[name]["file"]), full_check=True)
    generator = np.random.default_rng(0)
    ids = generator.integers(0, manifest["vocabularySize"], (ROWS, COLUMNS))
    positions = np.tile(np.arange(COLUMNS), (ROWS, 1))
    items = np.array(ROWS * (COLUMNS - 1), np.float32)
    run = session(folder, manifest, "evaluation")
    feeds = {"input_ids": ids, "labels": ids, "position_ids": positions, "num_items": items}
    feeds |= dict(checkpoint_tensors(folder / manifest["checkpoint"]))
    check_values(manifest["evaluation"]["inputs"], run.get_inputs(), feeds)
    loss, logprobs = run.run(["loss", "token_logprobs"], feeds)
    assert abs(loss + logprobs.sum() / items) < 1e-5 * loss
    print(f"{folder}: {manifest['form']}, checker passed, loss {loss:.6f} in evaluation")


def check(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    if manifest["form"] == "ort-training":
        check_ort_training(folder, manifest)
        return
    form = check_form(folder, manifest)
    generator = np.random.default_rng(0)
    shape = (ROWS, COLUMNS)
    ids = generator.integers(0, manifest["vocabularySize"], shape)
    positions = np.arange(COLUMNS) % np.array([[COLUMNS], [COLUMNS // 3]])
    parameters = load_file(folder / manifest["checkpoint"] / "parameters.safetensors")
    feeds = {
        "input_ids": ids,
        "labels": ids,
        "position_ids": positions,
        "num_items": np.array((positions != 0).sum(), np.float32),
        **parameters,
    }
    losses = {}
    for name in ("training", "evaluation"):
        run = session(folder, manifest, name)
        check_values(manifest[name]["inputs"], run.get_inputs(), feeds)
        names = [value.name for value in run.get_outputs()]
        outputs = dict(zip(names, run.run(None, feeds)))
        check_values(manifest[name]["outputs"], run.get_outputs(), outputs)
        assert all(np.isfinite(value).all() for value in outputs.values())
        losses[name] = float(outputs["loss"])
        if name == "training":
            gradients = {key: value for key, value in outputs.items() if key.endswith(".grad")}
    update = session(folder, manifest, "optimizer")
    zeros = {f"{key}.{moment}": np.zeros_like(value) for key, value in parameters.items() for moment in ("exp_avg", "exp_avg_sq")}
    state = {**parameters, **gradients, **zeros}
    scalars = {"learning_rate": np.array(1e-3, np.float32), "step": np.array(1), "grad_scale": np.array(1, np.float32)}
    names = [value.name for value in update.get_outputs()]
    moved = dict(zip(names, update.run(None, {**state, **scalars})))
    again = session(folder, manifest, "training")
    after = again.run(["loss"], {**feeds, **{key: moved[f"{key}.next"] for key in parameters}})[0]
    print(
        f"{folder}: {manifest['weights']}, {form}, loss {losses['training']:.6f} in training, "
        f"{losses['evaluation']:.6f} in evaluation, {float(after):.6f} after one AdamW step"
    )
    assert abs(losses["training"] - losses["evaluation"]) < 1e-5 * losses["training"]
    assert after < losses["training"]


for argument in sys.argv[1:]:
    check(Path(argument))
