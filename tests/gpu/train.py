"""Training on the GPU, measured: `speed` (618M parameters, context 1024), `torch` (the same model in
PyTorch, torch_twin.py, behind magnet in one process so that both see the same machine) and `curve`
(200 steps of shape a on the GPU and on the CPU)."""
import math
import sys
import time

import numpy

from magnet_abi import PARAMS, REHEARSAL, Library, Trainer, pack_adamw, row, speed_row
from shapes import LARGE, MODEL_618M, NAME, SMALL

ADAMW = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}
BATCHES = (2,) if REHEARSAL else (32, 16, 8, 4)
WARM_STEPS, STEPS, REPEATS = (1, 1, 2) if REHEARSAL else (3, 10, 3)
CURVE_STEPS = 20 if REHEARSAL else 200


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
    return found, losses


def first_that_fits(attempt, most=BATCHES[0]):
    """(batch, what the attempt returns)."""
    for batch in (n for n in BATCHES if n <= most):
        try:
            return batch, attempt(batch)
        except RuntimeError as error:  # of magnet and of PyTorch alike
            print(f"batch {batch}: {error}", flush=True)
    raise RuntimeError("no batch fits into the GPU's memory")


def speed(library):
    if REHEARSAL:  # of what does not fit
        try:
            measure_magnet(library, MODEL_618M, 32)
        except RuntimeError as error:
            print(f"does not fit, as it should: {error}", flush=True)
    batch, (found, _) = first_that_fits(lambda n: measure_magnet(library, LARGE, n))
    best = max(found)
    value = f"{best:,.0f} tokens/s, batch {batch} (worst repeat {min(found):,.0f})"
    what = f"{NAME} training"
    speed_row(f"{what}, context {LARGE['context']}", ">= 100,000 tokens/s", value, best >= 100_000)
    tflops = best * flops_per_token(LARGE, LARGE["context"]) / 1e12
    row(f"{what}, model's operations", "", f"{tflops:.3g} TFLOP/s", None)
    bytes_needed = Trainer.bytes_needed(library, LARGE, batch, LARGE["context"])
    row(f"{what}, memory of a step", "", f"{bytes_needed / 2**30:.1f} GiB", None)


def initial_tensors(library):
    """Of `LARGE` by name, as measure_magnet starts from."""
    trainer = Trainer(library, LARGE, 1, LARGE["context"])
    trainer.initialise(1)
    params, found = trainer.arena(PARAMS), {}
    for name, at, rows, columns in trainer.tensors():
        found[name] = params[at : at + rows * columns].reshape(rows, columns).copy()
    trainer.close()
    return found


def compare(library):
    """In turns, magnet before and after PyTorch."""
    what, goal = f"{NAME} training against PyTorch", ">= 1.2x"
    try:
        import torch_twin
    except ImportError as error:
        row(what, goal, f"no PyTorch: {error}", None)
        return
    if torch_twin.missing():
        row(what, goal, torch_twin.missing(), None)
        return
    batch, (before, losses) = first_that_fits(lambda n: measure_magnet(library, LARGE, n))
    start = initial_tensors(library)

    def measure_twin(n):
        with torch_twin.Twin(LARGE, n, start, ADAMW) as twin:
            tokens, found = twin.tokens(tokens_of(LARGE, n, LARGE["context"])), []
            return rates(lambda: found.append(twin.step(tokens)), n * LARGE["context"]), found

    their_batch, (theirs, their_losses) = first_that_fits(measure_twin, torch_twin.most_sequences())
    print(torch_twin.VERSION, [round(r) for r in theirs], "losses", their_losses, flush=True)
    ratio = max(before) / max(theirs)
    print(f"{ratio:.2f}x before magnet's second turn", flush=True)
    if their_batch == batch:
        off = abs(their_losses[0] / losses[0] - 1), abs(their_losses[-1] / losses[-1] - 1)
        value = f"loss {100 * off[0]:.3f}% off at first, {100 * off[1]:.3f}% at last"
        row("PyTorch's model is the same", "within 0.5% at first", value, off[0] <= 0.005)
    after, _ = measure_magnet(library, LARGE, batch)
    ours, other = max(before + after), max(theirs)
    value = f"{ours / other:.2f}x ({ours:,.0f} at batch {batch}, {other:,.0f} at {their_batch})"
    speed_row(what, goal, value, ours / other >= 1.2)


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
    model, batch, steps = SMALL, 8, CURVE_STEPS
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
    row(f"loss curve against the CPU, {steps} steps", "within 0.5%", value, bool(ends))


library = Library("libmagnet_cuda.so")
{"speed": speed, "torch": compare, "curve": curve}[sys.argv[1]](library)
