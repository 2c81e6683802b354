"""The training step of magnet's benchmark in plain PyTorch: the other side of train.sh.

Reads a safetensors file with the initial weights (Hugging Face names), one batch of tokens and the
model's configuration, trains on that batch again and again, and prints one JSON line with times,
losses and memory. Needs only torch and numpy. Formulas: tests/golden/bitnet/README.md.
"""
import argparse
import json
import math
import os
import resource
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("initial", help="safetensors file written by train-initial.ts")
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--steps", type=int, required=True, help="timed steps; one more comes first")
arguments = parser.parse_args()
# The BLAS library reads its thread count when it is loaded.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(arguments.threads)

import numpy
import torch
from torch.nn import functional

torch.set_num_threads(arguments.threads)


def status_bytes(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def read_initial(path):
    """Weights by name, tokens (batch, context + 1), configuration."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + size)
    metadata = header.pop("__metadata__")
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = {"F32": numpy.float32, "I32": numpy.int32}[entry["dtype"]]
        arrays[name] = data[begin:end].view(kind).reshape(entry["shape"])
    tokens = torch.from_numpy(arrays.pop("tokens").astype(numpy.int64))
    weights = {name: torch.nn.Parameter(torch.tensor(a)) for name, a in arrays.items()}
    return weights, tokens, json.loads(metadata["model"])


class Quantised(torch.autograd.Function):
    """x w^T from int8 rows and ternary weights; backward goes straight through both quantisers and
    multiplies with what forward multiplied with."""

    @staticmethod
    def forward(context, x, weight):
        row_scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp_(min=1e-5)
        rows = (x * row_scale).round_().clamp_(-128, 127).div_(row_scale)
        scale = 1.0 / weight.abs().mean().clamp_(min=1e-5)
        ternary = (weight * scale).round_().clamp_(-1, 1).div_(scale)
        context.save_for_backward(rows, ternary)
        return rows @ ternary.t()

    @staticmethod
    def backward(context, gradient):
        rows, ternary = context.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        return gradient @ ternary, flat.t() @ rows.reshape(-1, rows.shape[-1])


class Model:
    def __init__(self, weights, config, context):
        self.w = weights
        self.c = config
        half = config["head_dim"] // 2
        exponent = torch.arange(half, dtype=torch.float64) / half
        angle = torch.outer(
            torch.arange(context, dtype=torch.float64), config["rope_theta"] ** -exponent
        )
        self.cos, self.sin = angle.cos().float(), angle.sin().float()
        self.mask = torch.full((context, context), -math.inf).triu_(1)

    def norm(self, x, name):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.c["norm_eps"])
        return x * scale * self.w[name + ".weight"]

    def linear(self, x, name):
        return Quantised.apply(x, self.w[name + ".weight"])

    def heads(self, x, count):
        batch, context, _ = x.shape
        return x.view(batch, context, count, self.c["head_dim"]).transpose(1, 2)

    def rotate(self, x):
        left, right = x.chunk(2, -1)
        return torch.cat(
            (left * self.cos - right * self.sin, right * self.cos + left * self.sin), -1
        )

    def attention(self, x, name):
        c = self.c
        batch, context, _ = x.shape
        q = self.rotate(self.heads(self.linear(x, name + ".q_proj"), c["n_heads"]))
        k = self.rotate(self.heads(self.linear(x, name + ".k_proj"), c["n_kv_heads"]))
        v = self.heads(self.linear(x, name + ".v_proj"), c["n_kv_heads"])
        group = c["n_heads"] // c["n_kv_heads"]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(c["head_dim"]) + self.mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, context, -1)
        if c["variant"] == "bitnet":
            mixed = self.norm(mixed, name + ".attn_sub_norm")
        return self.linear(mixed, name + ".o_proj")

    def feed_forward(self, x, name):
        hidden = functional.silu(self.linear(x, name + ".gate_proj"))
        hidden = hidden * self.linear(x, name + ".up_proj")
        if self.c["variant"] == "bitnet":
            hidden = self.norm(hidden, name + ".ffn_sub_norm")
        return self.linear(hidden, name + ".down_proj")

    def loss(self, tokens):
        embedding = self.w["model.embed_tokens.weight"]
        x = functional.embedding(tokens[:, :-1], embedding)
        for i in range(self.c["n_layers"]):
            layer = f"model.layers.{i}"
            x = x + self.attention(self.norm(x, layer + ".input_layernorm"), layer + ".self_attn")
            x = x + self.feed_forward(
                self.norm(x, layer + ".post_attention_layernorm"), layer + ".mlp"
            )
        logits = functional.linear(self.norm(x, "model.norm"), embedding)
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def linked_libraries():
    wanted = ("blas", "dnnl", "mkl")
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if any(w in line for w in wanted)}
    return sorted({os.path.basename(os.path.realpath(p)) for p in paths})


def main():
    torch.rand(256, 256) @ torch.rand(256, 256)  # threads and libraries are there
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak of memory starts here
    except OSError:
        print("the peak of memory could not be reset", file=sys.stderr)
    before_bytes = status_bytes("VmRSS")
    weights, tokens, config = read_initial(arguments.initial)
    model = Model(weights, config, tokens.shape[1] - 1)
    parameters = list(weights.values())
    matrices = [p for p in parameters if p.dim() == 2]
    vectors = [p for p in parameters if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    losses, wall_s, cpu_s = [], [], []
    for _ in range(arguments.steps + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        wall_s.append(time.perf_counter() - wall)
        cpu_s.append(time.process_time() - cpu)
        losses.append(loss.item())
    peak = status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    count = tokens.shape[0] * (tokens.shape[1] - 1)
    result = {
        "engine": f"torch {torch.__version__}",
        "libraries": linked_libraries(),
        "threads": arguments.threads,
        "tokens_per_s": count * arguments.steps / sum(wall_s[1:]),
        "tokens_per_s_best_step": count / min(wall_s[1:]),
        "tokens_per_cpu_s": count * arguments.steps / sum(cpu_s[1:]),
        "losses": losses,
        "peak_bytes": peak - before_bytes,
        "process_peak_bytes": peak,
    }
    print(json.dumps(result))


main()
