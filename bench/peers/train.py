"""Trains a model folder for some steps with PyTorch eager on CPU, float32, and states what each step took.

python train.py path/to/model path/to/batches.json path/to/result.json      (needs torch, transformers)

Only the parameters of the selection require gradients: autograd prunes the rest, as it does for everybody.
What the process took goes to $COST_FILE.
"""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

from process_cost import write_process_cost

model_folder, batches_file, result_file = sys.argv[1:]
with open(batches_file) as file:
    work = json.load(file)
torch.set_num_threads(work["threads"])

model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
model.train()
selection = set(work["selection"])
trained = []
for name, parameter in model.named_parameters():
    parameter.requires_grad_(name in selection)
    if name in selection:
        trained.append(parameter)
assert len(trained) == len(selection), f"{len(trained)} of {len(selection)} parameters found"
optimizer = torch.optim.AdamW(trained, lr=work["learningRate"])

costs = []
for sequence in work["sequences"]:
    ids = torch.tensor([sequence])
    begin, cpu_begin = time.perf_counter(), time.process_time()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    backward = time.perf_counter()
    norm = torch.nn.utils.clip_grad_norm_(trained, work["maxGradientNorm"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    end, cpu_end = time.perf_counter(), time.process_time()
    costs.append(
        {
            "loss": loss.item(),
            "gradientNorm": norm.item(),
            "forwardBackwardMs": 1000 * (backward - begin),
            "stepMs": 1000 * (end - begin),
            "cpuMs": 1000 * (cpu_end - cpu_begin),
        }
    )

with open(result_file, "w") as file:
    json.dump(costs, file)

write_process_cost()
