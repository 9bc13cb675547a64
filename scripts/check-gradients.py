"""Holds the training graph of artifacts against torch's loss and gradients, run by onnx's own reference evaluator: it
computes in every dtype, bfloat16 too, which no runtime does on a CPU. The artifacts are those of a model of
test/fixtures/gradients, exported with --weights copy --chat-template none.

python scripts/check-gradients.py FIXTURE ARTIFACTS...   (needs onnx, ml_dtypes, safetensors, numpy)
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

# Relative distance of all gradients together: float32 sums in another order, the 16-bit dtypes round.
BOUNDS = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}


def distance(ours, expected):
    return float(np.linalg.norm(ours - expected) / np.linalg.norm(expected))


def check(folder, expected):
    manifest = json.loads((folder / "manifest.json").read_text())
    for graph in ("training", "evaluation", "optimizer"):
        onnx.checker.check_model(str(folder / manifest[graph]["file"]), full_check=True)
    evaluator = ReferenceEvaluator(onnx.load(str(folder / manifest["training"]["file"])))
    feeds = {name: expected[name].astype(np.int64) for name in ("input_ids", "labels", "position_ids")}
    feeds["num_items"] = expected["num_items"][0]
    feeds.update(load_file(folder / manifest["checkpoint"] / "parameters.safetensors"))
    outputs = dict(zip(evaluator.output_names, evaluator.run(None, feeds)))
    assert all(np.asarray(value).dtype == np.float32 for value in outputs.values())
    names = [name for name in outputs if name in expected and name.endswith(".grad")]
    whole = lambda tensors: np.concatenate([tensors[name].ravel() for name in names])
    gradients = distance(whole(outputs), whole(expected))
    dtype = manifest["computeDtype"]
    print(
        f"{folder}: {dtype}, checker passed, loss {outputs['loss']:.6f}, torch {expected['loss'][0]:.6f}, "
        f"{len(names)} gradients within {gradients:.1e} of torch's float32"
    )
    assert names and gradients < BOUNDS[dtype]


fixture, *folders = sys.argv[1:]
for folder in folders:
    check(Path(folder), load_file(Path(fixture) / "expected.safetensors"))
