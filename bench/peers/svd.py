"""Times the singular values of numpy, scipy and torch in float32, one request a line on standard input.

python svd.py THREADS      (measures those of numpy, scipy and torch that there are; torch needs numpy too)

First line out: {"versions": {...}, "peers": [...], "missing": [...]}. Then, for each line in, one line out:
  {"load": [files]}                  safetensors files of one bfloat16 tensor each -> {}
  {"time": "torch", "count": 2}      consecutive matrices, from the first one on -> {"seconds": of all}
  {"values": "torch"}                -> {"values": of the first matrix, descending}
Matrices are float32 before the clock starts; those of torch-cuda are on the GPU already.
"""
import json
import os
import sys
import time

THREADS = sys.argv[1]
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS

versions, peers, missing = {}, {}, []
try:
    import numpy

    versions["numpy"] = numpy.__version__
    peers["numpy"] = lambda matrix: numpy.linalg.svd(matrix, compute_uv=False)
except ImportError as error:
    missing.append(f"numpy, scipy and torch: {error}")
if "numpy" in peers:
    try:
        import scipy
        import scipy.linalg

        versions["scipy"] = scipy.__version__
        peers["scipy"] = lambda matrix: scipy.linalg.svdvals(matrix)
    except ImportError as error:
        missing.append(f"scipy: {error}")
    try:
        import torch

        torch.set_num_threads(int(THREADS))
        versions["torch"] = torch.__version__
        peers["torch"] = torch.linalg.svdvals
        if torch.cuda.is_available():
            versions["cuda"] = f"{torch.version.cuda}, {torch.cuda.get_device_name()}"
            peers["torch-cuda"] = torch.linalg.svdvals
    except ImportError as error:
        missing.append(f"torch: {error}")


def load(path):
    """The one tensor of a safetensors file, as float32."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        (tensor,) = [value for name, value in header.items() if name != "__metadata__"]
        assert tensor["dtype"] == "BF16", tensor["dtype"]
        bits = numpy.fromfile(file, numpy.uint16).astype(numpy.uint32)
    bits <<= 16
    return bits.view(numpy.float32).reshape(tensor["shape"])


def given_to(peer):
    if peer == "torch":
        return [torch.from_numpy(matrix) for matrix in matrices]
    if peer == "torch-cuda":
        return [torch.from_numpy(matrix).cuda() for matrix in matrices]
    return matrices


def wait(peer):
    if peer == "torch-cuda":
        torch.cuda.synchronize()


def answer(request):
    global matrices
    if "load" in request:
        matrices = [load(path) for path in request["load"]]
        return {}
    peer = request.get("time") or request["values"]
    given, compute = given_to(peer), peers[peer]
    wait(peer)
    if "values" in request:
        return {"values": [float(value) for value in compute(given[0])]}
    begin = time.perf_counter()
    for index in range(request["count"]):
        compute(given[index % len(given)])
    wait(peer)
    return {"seconds": time.perf_counter() - begin}


matrices = []
print(json.dumps({"versions": versions, "peers": list(peers), "missing": missing}), flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
