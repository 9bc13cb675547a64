"""Holds training graphs against torch's loss and gradients for the models of test/fixtures/gradients.

python scripts/check-gradients.py   (from the root, after npm run build; needs onnxruntime, safetensors, numpy)
    exports each model twice, with every parameter trained of which torch's gradient is at hand, and with the lowest of
    them alone so that the rest is frozen, and runs both under Python's ONNX Runtime in float32.
python scripts/check-gradients.py FIXTURE ARTIFACTS...   (needs onnx, ml_dtypes, safetensors, numpy)
    runs artifacts of one model, exported with --weights copy --chat-template none, by onnx's own reference evaluator: it
    computes in every dtype, bfloat16 too, which no runtime does on a CPU.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

FIXTURES = Path("test/fixtures/gradients")
# Relative distances in float32 under ONNX Runtime, of the loss and of each gradient by itself.
LOSS_BOUND, GRADIENT_BOUND = 1e-5, 1e-4
# Relative distance of all gradients together: float32 sums in another order, the 16-bit dtypes round.
BOUNDS = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}
EXPORT = """
import { exportArtifacts, openModel } from "./dist/src/index.js";
const [folder, out, ...parameterNames] = process.argv.slice(1);
const model = await openModel(folder);
await exportArtifacts(model, { parameterNames }, { out, chatTemplate: "none" });
await model.close();
"""


def distance(ours, expected):
    return float(np.linalg.norm(ours - expected) / np.linalg.norm(expected))


def feeds_of(folder, manifest, expected):
    feeds = {name: expected[name].astype(np.int64) for name in ("input_ids", "labels", "position_ids")}
    feeds["num_items"] = expected["num_items"].reshape(())
    return feeds | load_file(folder / manifest["checkpoint"] / "parameters.safetensors")


def by_reference(folder, manifest, feeds):
    import onnx
    from onnx.reference import ReferenceEvaluator

    for graph in ("training", "evaluation", "optimizer"):
        onnx.checker.check_model(str(folder / manifest[graph]["file"]), full_check=True)
    evaluator = ReferenceEvaluator(onnx.load(str(folder / manifest["training"]["file"])))
    outputs = dict(zip(evaluator.output_names, evaluator.run(None, feeds)))
    assert all(np.asarray(value).dtype == np.float32 for value in outputs.values())
    return outputs


def by_runtime(folder, manifest, feeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", manifest["weightsFolder"]
    )
    path = str(folder / manifest["training"]["file"])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def check_artifacts(folder, expected):
    manifest = json.loads((folder / "manifest.json").read_text())
    outputs = by_reference(folder, manifest, feeds_of(folder, manifest, expected))
    names = [name for name in outputs if name in expected and name.endswith(".grad")]
    whole = lambda tensors: np.concatenate([tensors[name].ravel() for name in names])
    gradients = distance(whole(outputs), whole(expected))
    dtype = manifest["computeDtype"]
    print(
        f"{folder}: {dtype}, checker passed, loss {outputs['loss']:.6f}, torch {expected['loss'][0]:.6f}, "
        f"{len(names)} gradients within {gradients:.1e} of torch's float32"
    )
    assert names and gradients < BOUNDS[dtype]


def check_fixture(fixture, trained, expected):
    """Largest distances of the loss and of a gradient, where these parameters train."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "artifacts"
        command = ["node", "--input-type=module", "-e", EXPORT, str(fixture), str(folder), *trained]
        subprocess.run(command, check=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        outputs = by_runtime(folder, manifest, feeds_of(folder, manifest, expected))
    assert sorted(outputs) == sorted(["loss", *(f"{name}.grad" for name in trained)])
    loss = distance(outputs.pop("loss").reshape(1), expected["loss"])
    gradients = {name: distance(value, expected[name]) for name, value in outputs.items()}
    worst = max(gradients, key=gradients.get)
    assert loss < LOSS_BOUND and gradients[worst] < GRADIENT_BOUND, (fixture, loss, worst, gradients[worst])
    return loss, gradients[worst]


def check_all():
    print("model           gradients  loss     farthest  lowest alone: loss, gradient")
    for fixture in sorted(FIXTURES.iterdir()):
        expected = load_file(fixture / "expected.safetensors")
        names = [name.removesuffix(".grad") for name in expected if name.endswith(".grad")]
        lowest = min(
            (name for name in names if ".0." in name), key=lambda name: "input_layernorm" not in name
        )
        loss, gradient = check_fixture(fixture, names, expected)
        alone = check_fixture(fixture, [lowest], expected)
        print(
            f"{fixture.name:15} {len(names):9}  {loss:.1e}  {gradient:.1e}   {alone[0]:.1e}  {alone[1]:.1e}"
        )


if len(sys.argv) == 1:
    check_all()
else:
    for argument in sys.argv[2:]:
        check_artifacts(Path(argument), load_file(Path(sys.argv[1]) / "expected.safetensors"))
