"""Leading singular triplets of one matrix by scipy (ARPACK, float64) and torch (svd_lowrank, float32), timed in turn.

OPENBLAS_NUM_THREADS=threads python truncated-svd.py path/to/float32 rows columns rank rounds threads
(needs numpy, scipy, torch)

Prints JSON: for each contender its seconds, those of the processor, its singular values, and what it leaves undone: the
largest of |A v - s u| and |A^T u - s v| over the largest singular value.
"""
import json
import sys
import time

import numpy as np
import torch
from scipy.sparse.linalg import svds

path = sys.argv[1]
rows, columns, rank, rounds, threads = map(int, sys.argv[2:])
torch.set_num_threads(threads)
single = np.fromfile(path, dtype=np.float32).reshape(rows, columns)
double = single.astype(np.float64)
tensor = torch.from_numpy(single)


def by_scipy(tol):
    u, s, vt = svds(double, k=rank, tol=tol, rng=np.random.default_rng(0))
    return u[:, ::-1], s[::-1], vt[::-1].T


def by_torch(niter):
    torch.manual_seed(0)
    u, s, v = torch.svd_lowrank(tensor, q=rank + 8, niter=niter)
    return u[:, :rank].double().numpy(), s[:rank].double().numpy(), v[:, :rank].double().numpy()


contenders = {
    "scipy svds, float64, tol 1e-4": lambda: by_scipy(1e-4),
    "scipy svds, float64, tol 1e-8": lambda: by_scipy(1e-8),
    "torch svd_lowrank, float32, niter 2": lambda: by_torch(2),
    "torch svd_lowrank, float32, niter 20": lambda: by_torch(20),
}
found = {name: {"seconds": [], "processor": []} for name in contenders}
for _ in range(rounds):
    for name, compute in contenders.items():
        begin, processor = time.perf_counter(), time.process_time()
        u, s, v = compute()
        found[name]["processor"].append(time.process_time() - processor)
        found[name]["seconds"].append(time.perf_counter() - begin)
        found[name]["values"] = s.tolist()
        left = np.linalg.norm(double @ v - u * s, axis=0)
        right = np.linalg.norm(double.T @ u - v * s, axis=0)
        found[name]["residual"] = float(max(left.max(), right.max()) / s[0])
print(json.dumps(found))
