"""Inference on the GPU: logits of a small model beside the CPU's, then decoding of the 618M model in
batches of 1, 8 and 64 and prefill, through the call that the engine makes (mg_batch_step: a step of the
model and the draws). Layouts: cpp/include/magnet_infer.h and magnet_sample.h."""
import ctypes
import struct
import time

import numpy

from magnet_abi import MADE, REHEARSAL, Library, address, pack_model, row, speed_row
from shapes import MODEL_618M

SMALL = {
    **{"variant": "bitnet", "vocab_size": 1024, "d_model": 256, "n_layers": 2, "n_heads": 4},
    **{"n_kv_heads": 2, "head_dim": 64, "d_ff": 768, "context": 256},
    **{"rope_theta": 10000.0, "norm_eps": 1e-5},
}
if REHEARSAL:
    SMALL = {**SMALL, "vocab_size": 300, "d_model": 128, "n_layers": 1, "n_heads": 2, "d_ff": 256}
# What speed is measured with.
LARGE, NAME = (SMALL, "tiny") if REHEARSAL else (MODEL_618M, "618M")
BLOCK, MOST_ROWS, TOPS = 16, 512, 20
LENGTH = 24 if REHEARSAL else 200
PROMPT, STEPS, REPEATS = (4, 2, 1) if REHEARSAL else (128, 128, 3)
PREFILL = 40 if REHEARSAL else MOST_ROWS
BATCHES = (1, 2, 5) if REHEARSAL else (1, 8, 64)


def u64(n):
    return ctypes.c_uint64(n)


def handle_of(library, symbol, *arguments):
    """Of a call whose last argument is where the handle goes."""
    handle = ctypes.c_void_p()
    library(symbol, *arguments, ctypes.byref(handle))
    return handle


class Model:
    def __init__(self, library, config, params, place=0):
        """place: of the GPU; on the CPU the number of threads, 0 = all."""
        self.call, self.config = library, config
        packed, count = pack_model(config), u64(params.size)
        arguments = (packed, address(params), count, place)
        self.handle = handle_of(library, "mg_infer_from_params", *arguments)
        read = u64(0)
        library("mg_infer_bytes", self.handle, ctypes.byref(read))
        self.bytes_per_token = read.value

    def logits(self, tokens):
        """(tokens, vocabulary), of a sequence by itself."""
        session = handle_of(self.call, "mg_session_create", self.handle, struct.pack("<4I", 0, 0, 16, 0))
        out = numpy.empty((len(tokens), self.config["vocab_size"]), numpy.float32)
        count = u64(len(tokens))
        self.call("mg_session_eval", session, address(tokens), count, u64(0), address(out), None)
        self.call("mg_session_free", session)
        return out

    def close(self):
        self.call("mg_infer_free", self.handle)


class Batch:
    """Sequences that step together, each with blocks and a greedy sampler of its own."""

    def __init__(self, model, size, length):
        self.model, self.call, self.size = model, model.call, size
        blocks = -(-length // BLOCK)
        self.pool = handle_of(self.call, "mg_kv_create", model.handle, size * blocks, 16)
        self.tables = numpy.arange(size * blocks, dtype=numpy.uint32)
        self.starts = numpy.arange(0, (size + 1) * blocks, blocks, dtype=numpy.uint32)
        options = struct.pack("<4f2I3Q2f2I", 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
        vocab = u64(model.config["vocab_size"])
        made = (vocab, options, None, None, u64(0), None)
        self.samplers = [handle_of(self.call, "mg_sampler_create", *made).value for _ in range(size)]

    def step(self, rows, samplers):
        """rows: (n, 4) as mg_batch_row; gives the tokens of those that are drawn."""
        rows = numpy.ascontiguousarray(rows, numpy.int32)
        drawn = numpy.array(samplers or [0], numpy.uint64)
        tokens = numpy.empty(MOST_ROWS, numpy.int32)
        logprobs = numpy.empty(MOST_ROWS, numpy.float32)
        ids = numpy.empty(MOST_ROWS * TOPS, numpy.int32)
        tops = numpy.empty(MOST_ROWS * TOPS, numpy.float32)
        self.call(
            "mg_batch_step",
            *(self.model.handle, self.pool, 0, address(rows), u64(len(rows))),
            *(address(self.tables), address(self.starts), u64(self.size)),
            *(address(drawn), u64(len(samplers)), address(tokens), address(logprobs)),
            *(address(ids), address(tops), None, None),
        )
        return tokens[: len(samplers)].copy()

    def prefill(self, prompts):
        """(sequences, tokens), a sequence after the other; draws the first token of each."""
        first = []
        for s, prompt in enumerate(prompts):
            for at in range(0, len(prompt), MOST_ROWS):
                part = prompt[at : at + MOST_ROWS]
                rows = numpy.zeros((len(part), 4), numpy.int32)
                rows[:, 0], rows[:, 1], rows[:, 2] = part, numpy.arange(at, at + len(part)), s
                last = at + len(part) == len(prompt)
                rows[-1, 3] = 1 if last else 0
                first.extend(self.step(rows, [self.samplers[s]] if last else []))
        return numpy.array(first, numpy.int32)

    def decode(self, tokens, position, steps):
        rows = numpy.zeros((self.size, 4), numpy.int32)
        rows[:, 2], rows[:, 3] = numpy.arange(self.size), 1
        for i in range(steps):
            rows[:, 0], rows[:, 1] = tokens, position + i
            tokens = self.step(rows, self.samplers)
        return tokens

    def close(self):
        for sampler in self.samplers:
            self.call("mg_sampler_free", ctypes.c_void_p(sampler))
        self.call("mg_kv_free", self.pool)


def initial(cpu, config):
    count = u64(0)
    cpu("mg_model_param_count", pack_model(config), ctypes.byref(count))
    params = numpy.empty(count.value, numpy.float32)
    cpu("mg_model_init", pack_model(config), u64(1), address(params), count)
    return params


def check_logits(cuda, cpu):
    """With an embedding that fp16, which the GPU keeps it in, holds exactly. Rows behind the first see
    attention in another order of sums, and what falls on the other side of an int8 rounding grows."""
    params = initial(cpu, SMALL)
    embedding = params[: SMALL["vocab_size"] * SMALL["d_model"]]
    embedding[:] = embedding.astype(numpy.float16)
    tokens = numpy.random.default_rng(5).integers(0, SMALL["vocab_size"], LENGTH).astype(numpy.int32)
    found = []
    for library in (cuda, cpu):
        model = Model(library, SMALL, params)
        found.append(model.logits(tokens).astype(numpy.float64))
        model.close()
    gpu, host = found
    first = numpy.linalg.norm(gpu[0] - host[0]) / numpy.linalg.norm(host[0])
    row("inference: first logits against the CPU's", "<= 1e-5", f"{first:.1e} off", bool(first <= 1e-5))
    error = numpy.linalg.norm(gpu - host) / numpy.linalg.norm(host)
    same = (gpu.argmax(1) == host.argmax(1)).mean()
    value = f"{error:.1e} off; {100 * same:.1f}% have the same first token"
    row("inference: all logits against the CPU's", "<= 5e-2", value, bool(error <= 5e-2))


def decode_rate(model, size):
    """Tokens per second of the best repeat."""
    random = numpy.random.default_rng(618)
    batch = Batch(model, size, PROMPT + (REPEATS + 1) * STEPS)
    prompts = random.integers(0, model.config["vocab_size"], (size, PROMPT)).astype(numpy.int32)
    tokens, position, best = batch.prefill(prompts), PROMPT, 0.0
    for repeat in range(REPEATS + 1):
        started = time.perf_counter()
        tokens = batch.decode(tokens, position, STEPS)
        rate = size * STEPS / (time.perf_counter() - started)
        position += STEPS
        best = max(best, rate) if repeat > 0 else 0.0
        print(f"decode, batch {size}, repeat {repeat}: {rate:,.0f} tokens/s", flush=True)
    batch.close()
    return best


def prefill_rate(model):
    random, best = numpy.random.default_rng(5), 0.0
    prompt = random.integers(0, model.config["vocab_size"], (1, PREFILL)).astype(numpy.int32)
    batch = Batch(model, 1, PREFILL)
    for repeat in range(REPEATS + 2):
        started = time.perf_counter()
        batch.prefill(prompt)
        rate = PREFILL / (time.perf_counter() - started)
        best = max(best, rate) if repeat > 0 else 0.0
    batch.close()
    return best


def measure(cuda, cpu):
    model = Model(cuda, LARGE, initial(cpu, LARGE))
    read = ctypes.c_double()
    cuda("mg_gpu_read_rate", 0, ctypes.byref(read))
    limit = read.value / model.bytes_per_token
    value = f"{read.value / 1e9:,.0f} GB/s; {model.bytes_per_token / 1e6:.0f} MB a token"
    row("memory read", "", value, None)
    single, middle, large = BATCHES
    one = decode_rate(model, single)
    value = f"{one:,.0f} tokens/s, {one / limit:.2f} of the bandwidth"
    what = f"decode {NAME}, batch"
    speed_row(f"{what} {single}", ">= 0.6 of the bandwidth", value, one / limit >= 0.6)
    some = decode_rate(model, middle)
    row(f"{what} {middle}", "", f"{some:,.0f} tokens/s, {some / one:.1f}x", None)
    most = decode_rate(model, large)
    value = f"{most:,.0f} tokens/s, {most / one:.1f}x"
    speed_row(f"{what} {large}", ">= 20x batch 1", value, most / one >= 20)
    row(f"prefill {NAME}, {PREFILL} tokens", "", f"{prefill_rate(model):,.0f} tokens/s", None)
    model.close()


def main():
    cuda, cpu = Library("libmagnet_cuda.so"), Library("libmagnet_cpu.so")
    print(f"libraries of {MADE}", flush=True)
    check_logits(cuda, cpu)
    measure(cuda, cpu)


main()
