"""Opens the model that a run of spectrum train saved with transformers, and holds it against this project and the base model.

python scripts/check-saved-model.py RUN [DATA.jsonl]   (from the root, after npm run build; needs torch, transformers,
safetensors, numpy). RUN is the folder of spectrum train: artifacts/ and model/ are read. npm run quickstart makes one.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = 40
TOLERANCE = 1e-4
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def raw_tensors(folder):
    """Every tensor's dtype, shape and undecoded bytes."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:end]).items():
            if name != "__metadata__":
                first, last = (end + offset for offset in entry["data_offsets"])
                tensors[name] = (entry["dtype"], entry["shape"], content[first:last])
    return tensors


def values_of(folder):
    values = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            values.update({name: file.get_tensor(name) for name in file.keys()})
    return values


def check_weights(base, saved, manifest):
    """Frozen tensors are the base's bytes, and so are the rows of a table before its new ones; returns what changed."""
    before, after = raw_tensors(base), raw_tensors(saved)
    assert before.keys() == after.keys()
    whole = {p["tensor"] for p in manifest["parameters"] if p["firstRow"] is None}
    tables = {p["tensor"]: p for p in manifest["parameters"] if p["firstRow"] is not None}
    was, now = values_of(base), values_of(saved)
    frozen = 0
    for name in before.keys() - whole:
        dtype, shape, content = before[name]
        if name not in tables:
            assert after[name] == before[name], f"{name} is frozen and differs"
        else:
            rows = tables[name]["shape"][0]
            assert after[name][1] == [shape[0] + rows, *shape[1:]], name
            if after[name][0] == dtype:
                assert after[name][2][: len(content)] == content, f"rows of {name} are frozen and differ"
            assert torch.equal(now[name][: shape[0]].float(), was[name].float()), name
        frozen += len(content)
    trained = sum(was[name].numel() for name in whole)
    changed = sum(int((was[name].float() != now[name][: was[name].shape[0]].float()).sum()) for name in whole)
    assert changed > 0
    return frozen, trained, changed


def check_text(tokenizer, ours):
    """Text, tokens and targets of every conversation are those of apply_chat_template."""
    for conversation in ours["conversations"]:
        messages = conversation["messages"]
        assert tokenizer.apply_chat_template(messages, tokenize=False) == conversation["text"]
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        assert encoded["input_ids"] == conversation["inputIds"]
        labels = [id if mask else -100 for id, mask in zip(encoded["input_ids"], encoded["assistant_masks"])]
        assert labels == conversation["labels"] and any(encoded["assistant_masks"])
    for answer in ours["answers"]:
        options = dict(add_generation_prompt=True)
        assert tokenizer.apply_chat_template(answer["messages"], tokenize=False, **options) == answer["prompt"]
        ids = tokenizer.apply_chat_template(answer["messages"], return_dict=True, **options)["input_ids"]
        assert ids == answer["inputIds"]


def relative(ours, theirs):
    ours = torch.tensor(ours, dtype=torch.float64)
    return float((ours - theirs.double()).norm() / theirs.double().norm())


def check_numbers(model, ours):
    """Logits after each prompt, and the log probability of each target; returns the largest relative distances."""
    logits = max(
        relative(answer["logits"], model(torch.tensor([answer["inputIds"]])).logits[0, -1])
        for answer in ours["answers"]
    )
    logprobs = 0
    for conversation in ours["conversations"]:
        ids, labels = conversation["inputIds"], torch.tensor(conversation["labels"][1:])
        targets = labels >= 0
        theirs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        theirs = theirs.gather(1, labels.clamp(min=0)[:, None])[:, 0][targets]
        logprobs = max(logprobs, relative(np.array(conversation["logprobs"])[targets.numpy()], theirs))
    assert logits < TOLERANCE and logprobs < TOLERANCE, (logits, logprobs)
    return logits, logprobs


def check_answers(model, tokenizer, ours):
    """transformers' own greedy generation, with the generation config that was saved, writes the same tokens."""
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    assert set(ours["stopIds"]) == ends, (ours["stopIds"], ends)
    ended = 0
    for answer in ours["answers"]:
        prompt = torch.tensor([answer["inputIds"]])
        written = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=ours["maxTokens"]
        )
        written = written[0, prompt.shape[1] :].tolist()
        if written[-1] in ends:
            written.pop()
            ended += 1
        assert written == answer["outputIds"], (answer["prompt"], written, answer["outputIds"])
        assert tokenizer.decode(written, skip_special_tokens=True) == answer["answer"]
    return ended


def check(run, data):
    manifest = json.loads((run / "artifacts/manifest.json").read_text())
    saved = run / "model"
    base = manifest["weightsFolder"] or manifest["model"]["id"]
    command = ["node", "scripts/answers.mjs", str(saved), str(data), str(PROMPTS)]
    ours = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    frozen, trained, changed = check_weights(base, saved, manifest)
    # The arithmetic that is compared is float32, whatever the stored dtype.
    model = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    stored = AutoModelForCausalLM.from_pretrained(saved).dtype
    check_text(tokenizer, ours)
    with torch.no_grad():
        logits, logprobs = check_numbers(model, ours)
        ended = check_answers(model, tokenizer, ours)
    print(
        f"{saved} ({stored}): {len(ours['conversations'])} conversations have the same text, tokens and targets; "
        f"logits within {logits:.1e}, log probabilities within {logprobs:.1e}; {len(ours['answers'])} greedy answers "
        f"are the same, {ended} of them ended; {frozen} frozen bytes are the base's; "
        f"{100 * changed / trained:.1f} % of {trained} trained values changed"
    )


check(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "examples/definitions/eval.jsonl"))
