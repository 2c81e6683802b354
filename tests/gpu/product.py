"""The executable with its GPU: doctor, training, chat, a server, both benches and a round of two nodes on
this machine. `product.py run` takes dist/magnet, or build/gpu/magnet.xz, which `product.py pack` makes of
it for a machine that it is carried to (a third of its size). Where the executable has no library of GPUs it
takes the one that run.sh built; a rehearsal takes the emulation, and the sources where there is no
executable. MAGNET names another command in its place."""
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from magnet_abi import MADE, REHEARSAL, row, speed_row
from shapes import TINY

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
EXECUTABLE = os.path.join(ROOT, "dist/magnet")
PACKED = os.path.join(ROOT, "build/gpu/magnet.xz")
BUN = os.path.join(ROOT, "node_modules/@oven/bun-linux-x64/bin/bun")
LIBRARY = os.path.abspath(os.path.join(MADE, "libmagnet_cuda.so"))
# Rows of packed ternary weights in a file are multiples of 128.
SMALL = {**TINY, "d_model": 128, "n_heads": 2, "n_kv_heads": 1, "head_dim": 64, "context": 16}
MODEL = SMALL if REHEARSAL else "demo"
STEPS, BATCH, ANSWER = (3, 2, 3) if REHEARSAL else (50, 16, 64)
SHAPES = ("a",) if REHEARSAL else ("a", "618m")
# Seconds of one command.
LIMIT = 300 if REHEARSAL else 200


def pack():
    with open(EXECUTABLE, "rb") as file:
        packed = lzma.compress(file.read(), preset=9 | lzma.PRESET_EXTREME)
    os.makedirs(os.path.dirname(PACKED), exist_ok=True)
    with open(PACKED, "wb") as file:
        file.write(packed)
    print(f"{PACKED}: {len(packed) / 2**20:.1f} MiB; name it among what is carried")


class Product:
    def __init__(self, command, home):
        self.command, self.home, self.children = command, home, []
        self.env = {"PATH": os.environ["PATH"], "HOME": home}
        if REHEARSAL:
            self.env["MAGNET_CUDA_LIBRARY"] = LIBRARY

    def run(self, *arguments, limit=LIMIT, quiet=False, codes=(0,)):
        """The documents that it prints."""
        command = [*self.command, *arguments, "--json"]
        if not quiet:
            print("$ magnet", *arguments, flush=True)
        options = {"cwd": self.home, "env": self.env, "capture_output": True, "text": True}
        done = subprocess.run(command, timeout=limit, stdin=subprocess.DEVNULL, **options)
        if not quiet:
            print(done.stdout[-500:], flush=True)
        if done.returncode not in codes:
            said = (done.stderr.strip() or done.stdout.strip())[-300:]
            raise RuntimeError(f"exit code {done.returncode}: {said}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, *arguments):
        """What stays up; its first document."""
        print("$ magnet", *arguments, "&", flush=True)
        child = subprocess.Popen(
            [*self.command, *arguments, "--json"],
            **{"cwd": self.home, "env": self.env, "text": True, "stdin": subprocess.DEVNULL},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True},
        )
        self.children.append(child)
        # A child that says nothing must not hold the others up.
        timer = threading.Timer(LIMIT, child.kill)
        timer.start()
        line = child.stdout.readline()
        timer.cancel()
        if not line:
            raise RuntimeError(f"it ended: {child.stderr.read().strip()[-300:]}")
        print(line, flush=True)
        # Read on, so that no pipe fills up.
        for stream in (child.stdout, child.stderr):
            threading.Thread(target=stream.read, daemon=True).start()
        return json.loads(line)

    def stop_all(self):
        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
        self.children = []


def of(documents, schema):
    return next(d for d in documents if d.get("schema") == f"magnet.{schema}/1")


def doctor(magnet):
    def checked():
        # Where something else fails, a port that is taken say, it ends with 1.
        checks = magnet.run("doctor", codes=(0, 1))[0]["checks"]
        print("fails:", [c for c in checks if c["status"] == "fail"], flush=True)
        return {c["name"]: c for c in checks}["gpu"]

    found = checked()
    if "no CUDA" in found["value"]:
        print("the executable has no library of GPUs: taking the one that was built here")
        magnet.env["MAGNET_CUDA_LIBRARY"] = LIBRARY
        found = checked()
    good = found["status"] == "ok" and found["value"].startswith("cuda:0")
    row("magnet doctor", "takes the GPU", found["value"], good and "gradient within" in found["value"])


def train(magnet):
    model = os.path.join(magnet.home, "model.json")
    with open(model, "w") as file:
        json.dump(MODEL, file)
    magnet.model = model if REHEARSAL else MODEL
    magnet.data = os.path.join(ROOT, "README.md" if REHEARSAL else "docs")
    found = magnet.run(
        *("train", "--model", magnet.model, "--data", magnet.data, "--steps", str(STEPS)),
        *("--batch", str(BATCH), "--out", "run", "--heldout", "0", "--device", "cuda"),
    )
    where = of(found, "train_started")["device"]
    losses = [d["loss"] for d in found if d["schema"] == "magnet.train_step/1"]
    value = f"{where}: loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps"
    row("magnet train --device cuda", "the loss falls", value, losses[-1] < losses[0])


def chat(magnet):
    prompt = ("--complete", "--prompt", "The node", "--max-tokens", str(ANSWER))
    greedy = ("--temperature", "0", "--seed", "1")
    text = {}
    for device in ("cuda", "cpu"):
        found = magnet.run("chat", "run", *prompt, *greedy, "--device", device)
        text[device] = of(found, "chat")["text"]
    value = f"{text['cuda']!r}, {'as' if text['cuda'] == text['cpu'] else 'not as'} on the CPU"
    row("magnet chat --device cuda", "an answer", value.replace("\n", " "), text["cuda"] != "")


def serve(magnet):
    at = magnet.start("serve", "run", "--port", "0", "--device", "cuda")

    def complete(i):
        body = {"model": "run", "prompt": f"The {i}", "max_tokens": ANSWER, "temperature": 0}
        request = urllib.request.Request(
            at["url"] + "/v1/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return json.load(answer)["choices"][0]["text"]

    alone, together = [complete(i) for i in range(4)], [""] * 4

    def one(i):
        together[i] = complete(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = together == alone
    value = f"{at['device']}: 4 requests at once {'as' if same else 'not as'} one by one"
    row("magnet serve --device cuda", "the same answers", value, same)
    magnet.stop_all()


def bench(magnet):
    # Shape a is too large for the emulation.
    device = "cpu" if REHEARSAL else "cuda"
    for shape in SHAPES:
        size = ("--batch", "1", "--steps", "1", "--repeat", "1") if REHEARSAL else ()
        size = ("--batch", "16", "--steps", "10", "--repeat", "3") if shape == "618m" else size
        report = magnet.run("bench", "train", "--shape", shape, "--device", device, *size)[0]
        results = {r["name"]: r for r in report["results"]}
        value = f"{results['train_tokens_per_s']['value']:,.0f} tokens/s"
        row(f"magnet bench train, shape {shape}", "", value, None)
    size = ("--prompt", "4", "--decode", "3", "--parallel", "2", "--repeat", "1") if REHEARSAL else ()
    preset = magnet.model if REHEARSAL else "genkidama-618m"
    report = magnet.run("bench", "infer", "--preset", preset, "--device", "cuda", *size)[0]
    for result in report["results"]:
        if result["name"].endswith("tokens_per_s"):
            value, limit = result["value"], result.get("limit")
            share = f", {value / limit:.2f} of the limit" if limit else ""
            what = f"magnet bench infer, {result['name']}"
            speed_row(what, "", f"{value:,.1f}{share}", None)


def wait_for(what, read, limit):
    """Until `read` gives something."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = read()
        if found:
            return found
        time.sleep(0.5)
    raise RuntimeError(f"never: {what}")


def join(magnet):
    """A node on the GPU and one on the CPU, which merge to the same state."""
    keys = [magnet.run("keys", "create", "--data-dir", node)[0]["public_key"] for node in "ab"]
    members = [flag for key in keys for flag in ("--member", key)]
    shards = ("--data-shards", "1", "--parity-shards", "1")
    magnet.run("network", "create", "--name", "two", *members, *shards, "--out", "two.json")
    network = ("--network", "two.json", "--listen", "127.0.0.1:0")
    ready = os.path.join(magnet.home, "ready.json")
    first = magnet.start(
        *("join", *network, "--data-dir", "a", "--tier", "gpu", "--ready-file", ready)
    )
    wait_for("the first node", lambda: os.path.exists(ready), LIMIT)
    with open(ready) as file:
        peer = json.load(file)["address"]
    second = magnet.start(*("join", *network, "--data-dir", "b", "--device", "cpu", "--peer", peer))
    print(first["device"], second["device"], flush=True)
    magnet.run(
        *("job", "submit", "--data", magnet.data, "--model", magnet.model, "--rounds", "2"),
        *("--inner-steps", str(STEPS), "--batch", str(BATCH), "--data-dir", "a"),
    )

    def rounds(node):
        return magnet.run("rounds", "list", "--data-dir", node, quiet=True)[0]["rounds"]

    limit = 2 * LIMIT
    seen = wait_for("two rounds", lambda: len(rounds("b")) >= 2 and rounds("b"), limit)
    fewest = min(len(r["contributors"]) for r in seen)
    value = f"{first['device']} and {second['device']}: {len(seen)} rounds, {fewest} contributors"
    row("magnet join, two nodes", "2 rounds of both", value, fewest == 2)
    magnet.stop_all()


def run():
    command = os.environ.get("MAGNET", "").split() or [EXECUTABLE]
    if "MAGNET" in os.environ:
        print("taking", *command, flush=True)
    elif not os.path.exists(EXECUTABLE) and os.path.exists(PACKED):
        command = [os.path.join(ROOT, "build/gpu/magnet")]
        with lzma.open(PACKED) as packed, open(command[0], "wb") as file:
            shutil.copyfileobj(packed, file)
        os.chmod(command[0], 0o755)
    elif not os.path.exists(EXECUTABLE):
        if not (REHEARSAL and os.path.exists(BUN)):
            row("magnet", "", "neither dist/magnet nor build/gpu/magnet.xz is here", None)
            return
        command = [BUN, os.path.join(ROOT, "src/main.ts")]
    wanted = os.environ.get("PRODUCT", "doctor train chat serve bench join").split()
    with tempfile.TemporaryDirectory(prefix="magnet-gpu-") as home:
        magnet = Product(command, home)
        for part in (doctor, train, chat, serve, bench, join):
            if part.__name__ not in wanted:
                continue
            try:
                part(magnet)
            except Exception as error:  # of one part: the others are tried all the same
                row(f"magnet {part.__name__}", "", f"{type(error).__name__}: {error}"[:300], False)
            finally:
                magnet.stop_all()


{"run": run, "pack": pack}[sys.argv[1]]()
