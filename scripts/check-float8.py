"""Holds a model that was trained from an 8-bit base against transformers: makes a small base as published 8-bit
checkpoints are (blocks of 128 x 128), exports it, saves it with other values in what trains, and opens what was saved.

python scripts/check-float8.py   (from the root, after npm run build; needs torch, transformers, accelerate, onnxruntime,
safetensors, numpy)
"""

import json
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FineGrainedFP8Config, LlamaConfig
from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer

BLOCK = 128
TRAINED = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_proj"]
SIZES = dict(
    vocab_size=96,
    hidden_size=256,
    intermediate_size=384,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
SDK = """
import { exportArtifacts, openModel, saveModel } from "./dist/src/index.js";
const [dtype, base, artifacts, out, ...names] = process.argv.slice(1);
const model = await openModel(base);
const selection = { parameterNames: names };
if (dtype === "export") await exportArtifacts(model, selection, { out: artifacts, chatTemplate: "none" });
else console.log(JSON.stringify(await saveModel(artifacts, { out, dtype, checkpoint: `${artifacts}/checkpoint`, model })));
await model.close();
"""


def write_base(folder):
    config = LlamaConfig(**SIZES, dtype="bfloat16")
    model = AutoModelForCausalLM.from_config(config)
    tensors = {}
    for name, weight in model.state_dict().items():
        if not name.endswith("proj.weight"):
            tensors[name] = weight.bfloat16()
            continue
        rows, columns = (side // BLOCK for side in weight.shape)
        blocks = weight.reshape(rows, BLOCK, columns, BLOCK)
        scale = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
        # Powers of 2: transformers decodes to bfloat16, which then loses nothing.
        scale = scale.log2().ceil().exp2()
        tensors[name] = (blocks / scale[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    quantisation = FineGrainedFP8Config(weight_block_size=(BLOCK, BLOCK)).to_dict()
    fields = {**config.to_dict(), "quantization_config": quantisation, "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(fields))


def sdk(dtype, *arguments):
    names = [f"{name}.weight" for name in TRAINED]
    command = ["node", "--input-type=module", "-e", SDK, dtype, *map(str, arguments), *names]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def train(artifacts):
    """Other values, as bfloat16 holds them, so that saving rounds nothing."""
    path = artifacts / "checkpoint" / "parameters.safetensors"
    parameters = {k: (v * (1 + 0.1 * torch.randn(v.shape))).bfloat16().float() for k, v in load_file(path).items()}
    save_file(parameters, path)
    return parameters


def our_logits(artifacts, ids, parameters):
    manifest = json.loads((artifacts / "manifest.json").read_text())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", manifest["weightsFolder"]
    )
    session = onnxruntime.InferenceSession(str(artifacts / manifest["evaluation"]["file"]), options)
    feeds = {
        "input_ids": ids,
        "labels": ids,
        "position_ids": np.arange(ids.shape[1])[None].repeat(len(ids), 0),
        "num_items": np.array(1, np.float32),
        **{name: value.numpy() for name, value in parameters.items()},
    }
    return session.run(["last_logits"], feeds)[0]


def distance(ours, path, ids):
    model = AutoModelForCausalLM.from_pretrained(path).float()
    theirs = model(torch.from_numpy(ids)).logits[:, -1].detach().numpy()
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def check(folder):
    base, artifacts, saved = folder / "base", folder / "artifacts", folder / "saved"
    write_base(base)
    sdk("export", base, artifacts, saved)
    parameters = train(artifacts)
    counts = json.loads(sdk("base", base, artifacts, saved))
    sdk("float32", base, artifacts, folder / "float32")
    ids = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (3, 32))
    ours = our_logits(artifacts, ids, parameters)
    # Without a GPU transformers decodes what is left in 8 bits.
    logits = max(distance(ours, path, ids) for path in (saved, folder / "float32"))
    # With one it keeps them: so loaded here, but not run.
    with patch.object(FineGrainedFP8HfQuantizer, "validate_environment"):
        kept, report = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    modules = dict(kept.named_modules())
    linear = [name for name in modules if name.endswith("_proj")]
    plain = [name for name in linear if type(modules[name]) is torch.nn.Linear]
    assert sorted(plain) == sorted(TRAINED) and not any(report.values()), (plain, report)
    assert all(modules[name].weight.dtype == torch.float8_e4m3fn for name in linear if name not in TRAINED)
    for name in TRAINED:
        assert torch.equal(modules[name].weight.float(), parameters[f"{name}.weight"])
    print(
        f"logits within {logits:.1e} of transformers, saved as base and as float32; {counts['changedValues']} of {counts['trainedValues']} values changed; "
        f"kept in 8 bits: {len(linear) - len(plain)} of {len(linear)} projections, the others {modules[TRAINED[0]].weight.dtype}"
    )
    assert logits < 1e-4


with tempfile.TemporaryDirectory() as folder:
    torch.manual_seed(0)
    check(Path(folder))
