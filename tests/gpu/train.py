"""Training on the GPU, measured: `speed` (618M parameters, context 1024), `torch` (the same model in
PyTorch, bfloat16 with torch.compile, behind magnet in one process so that both see the same machine)
and `curve` (200 steps of shape a on the GPU and on the CPU)."""
import gc
import math
import sys
import time

import numpy

from magnet_abi import Library, Trainer, pack_adamw, row
from shapes import MODEL_618M, SHAPE_A

ADAMW = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}
BATCHES = (32, 16, 8, 4)
WARM_STEPS, STEPS, REPEATS = 3, 10, 3


def tokens_of(model, batch, context, seed=618):
    """(batch, context + 1), small ids more frequent, as in text."""
    u = numpy.random.default_rng(seed).random((batch, context + 1))
    return (u * u * u * model["vocab_size"]).astype(numpy.int32)


def flops_per_token(m, context):
    """As flopsPerToken in src/model/bench-shapes.ts."""
    query, key = m["n_heads"] * m["head_dim"], m["n_kv_heads"] * m["head_dim"]
    block = m["d_model"] * (2 * query + 2 * key + 3 * m["d_ff"])
    weights = m["vocab_size"] * m["d_model"] + m["n_layers"] * block
    return 6 * weights + 6 * m["n_layers"] * context * query


def rates(step, tokens):
    """Tokens per second of each repeat; `step` returns when its loss is known."""
    for _ in range(WARM_STEPS):
        step()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(STEPS):
            step()
        found.append(tokens * STEPS / (time.perf_counter() - started))
    return found


def measure_magnet(library, model, batch):
    context = model["context"]
    trainer = Trainer(library, model, batch, context)
    trainer.initialise(1)
    tokens, done, losses = tokens_of(model, batch, context), [0], []

    def step():
        done[0] += 1
        losses.append(trainer.step(tokens, pack_adamw(done[0], **ADAMW))[0])

    found = rates(step, batch * context)
    print("magnet", batch, [round(r) for r in found], "profile", trainer.profile(), flush=True)
    print("losses", [round(x, 4) for x in losses], flush=True)
    trainer.close()
    return found


def first_that_fits(attempt):
    for batch in BATCHES:
        try:
            return batch, attempt(batch)
        except RuntimeError as error:  # of magnet and of PyTorch alike
            print(f"batch {batch}: {error}", flush=True)
    raise RuntimeError("no batch fits into the GPU's memory")


def speed(library):
    model = MODEL_618M
    batch, found = first_that_fits(lambda batch: measure_magnet(library, model, batch))
    best = max(found)
    value = f"{best:,.0f} tokens/s, batch {batch} (worst repeat {min(found):,.0f})"
    row("618M training, context 1024", ">= 100,000 tokens/s", value, best >= 100_000)
    tflops = best * flops_per_token(model, model["context"]) / 1e12
    row("618M training, model's operations", "", f"{tflops:.0f} TFLOP/s", None)
    bytes_needed = Trainer.bytes_needed(library, model, batch, model["context"])
    row("618M training, memory of a step", "", f"{bytes_needed / 2**30:.1f} GiB", None)
    return batch, best


def torch_twin(model, batch):
    """One step of the same model in PyTorch; formulas: tests/golden/bitnet/README.md."""
    import torch
    from torch.nn import functional

    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    d, head = model["d_model"], model["head_dim"]
    query, key, ff = model["n_heads"] * head, model["n_kv_heads"] * head, model["d_ff"]
    context, eps = model["context"], model["norm_eps"]

    def matrix(rows, columns):
        return torch.nn.Parameter(0.02 * torch.randn(rows, columns, device="cuda"))

    def ones(n):
        return torch.nn.Parameter(torch.ones(n, device="cuda"))

    def block():
        return {
            **{"n1": ones(d), "q": matrix(query, d), "k": matrix(key, d), "v": matrix(key, d)},
            **{"na": ones(query), "o": matrix(d, query), "n2": ones(d), "g": matrix(ff, d)},
            **{"u": matrix(ff, d), "nf": ones(ff), "w": matrix(d, ff)},
        }

    embedding, blocks, last = matrix(model["vocab_size"], d), [], ones(d)
    blocks = [block() for _ in range(model["n_layers"])]
    half = torch.arange(head // 2, device="cuda") / (head // 2)
    angle = torch.outer(torch.arange(context, device="cuda").float(), 10000.0**-half)
    cos, sin = angle.cos(), angle.sin()

    def norm(x, w):
        return functional.rms_norm(x.float(), (x.shape[-1],), w, eps)

    def linear(x, w):
        scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        rows = x + ((x * scale).round().clamp(-128, 127) / scale - x).detach()
        size = w.abs().mean().clamp(min=1e-5)
        ternary = w + ((w / size).round().clamp(-1, 1) * size - w).detach()
        return functional.linear(rows.bfloat16(), ternary.bfloat16())

    def heads(x, count):
        return x.view(batch, context, count, head).transpose(1, 2)

    def rotate(x):
        a, b = x.float().chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).bfloat16()

    def layer(x, b):
        h = norm(x, b["n1"])
        q = rotate(heads(linear(h, b["q"]), model["n_heads"]))
        k = rotate(heads(linear(h, b["k"]), model["n_kv_heads"]))
        v = heads(linear(h, b["v"]), model["n_kv_heads"])
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        mixed = mixed.transpose(1, 2).reshape(batch, context, query)
        x = x + linear(norm(mixed, b["na"]), b["o"])
        h = norm(x, b["n2"])
        hidden = functional.silu(linear(h, b["g"])) * linear(h, b["u"])
        return x + linear(norm(hidden, b["nf"]), b["w"])

    @torch.compile
    def loss_of(tokens):
        x = functional.embedding(tokens[:, :-1], embedding)
        for b in blocks:
            x = layer(x, b)
        hidden = norm(x, last).bfloat16().flatten(0, 1)
        logits = functional.linear(hidden, embedding.bfloat16())
        return functional.cross_entropy(logits.float(), tokens[:, 1:].flatten())

    parameters = [embedding, last, *(p for b in blocks for p in b.values())]
    groups = [
        {"params": [p for p in parameters if p.dim() == 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
    tokens = torch.from_numpy(tokens_of(model, batch, context)).long().cuda()

    def step():
        adamw.zero_grad(set_to_none=True)
        loss = loss_of(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        adamw.step()
        return loss.item()

    return step


def measure_torch(model, batch):
    import torch

    try:
        return rates(torch_twin(model, batch), batch * model["context"])
    finally:
        # What was compiled for one batch keeps its tensors from the next.
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()


def compare(library):
    """In turns, magnet before and after PyTorch."""
    try:
        import torch
    except ImportError:
        row("618M training against PyTorch", ">= 1.2x", "PyTorch is not installed", None)
        return
    model = MODEL_618M
    batch, before = first_that_fits(lambda batch: measure_magnet(library, model, batch))
    their_batch, theirs = first_that_fits(lambda batch: measure_torch(model, batch))
    after = measure_magnet(library, model, batch)
    ours, other = max(before + after), max(theirs)
    print("torch", torch.__version__, [round(r) for r in theirs], flush=True)
    value = f"{ours / other:.2f}x ({ours:,.0f} at batch {batch}, {other:,.0f} at {their_batch})"
    row("618M training against PyTorch", ">= 1.2x", value, ours / other >= 1.2)


def text_like(model, batch, steps):
    """Tokens that a model can learn: each follows from the one before, but for one in four."""
    random = numpy.random.default_rng(7)
    vocab, context = model["vocab_size"], model["context"]
    follows = random.permutation(vocab).astype(numpy.int32)
    out = numpy.empty((steps, batch, context + 1), numpy.int32)
    out[:, :, 0] = random.integers(0, vocab, (steps, batch))
    for i in range(1, context + 1):
        fresh = (random.random((steps, batch)) ** 3 * vocab).astype(numpy.int32)
        is_fresh = random.random((steps, batch)) < 0.25
        out[:, :, i] = numpy.where(is_fresh, fresh, follows[out[:, :, i - 1]])
    return out


def curve(library):
    model, batch, steps = SHAPE_A, 8, 200
    tokens = text_like(model, batch, steps)

    def losses_of(one):
        trainer = Trainer(one, model, batch, model["context"])
        trainer.initialise(1)
        losses = [trainer.step(tokens[i], pack_adamw(i + 1, **ADAMW))[0] for i in range(steps)]
        trainer.close()
        return numpy.array(losses)

    gpu, cpu = losses_of(library), losses_of(Library("libmagnet_cpu.so"))
    off = numpy.abs(gpu / cpu - 1)
    # Single steps are noise of both: the curve is the mean over ten.
    smooth = numpy.abs(gpu.reshape(-1, 10).mean(1) / cpu.reshape(-1, 10).mean(1) - 1).max()
    value = f"{100 * smooth:.3f}% at most, single steps {100 * off.max():.3f}%"
    print(f"loss {cpu[0]:.4f} -> {cpu[-1]:.4f} on the CPU, {gpu[-1]:.4f} on the GPU", flush=True)
    ends = math.isfinite(smooth) and smooth <= 0.005
    row("loss curve against the CPU, 200 steps", "within 0.5%", value, bool(ends))


library = Library("libmagnet_cuda.so")
{"speed": speed, "torch": compare, "curve": curve}[sys.argv[1]](library)
