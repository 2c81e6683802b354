"""The model that magnet trains, in PyTorch: bfloat16 products, torch.compile, fused AdamW. Formulas:
tests/golden/bitnet/README.md. Without a GPU (a rehearsal) it computes on the CPU."""
import gc

import torch
from torch.nn import functional

VERSION = f"torch {torch.__version__}"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def missing():
    """Why this PyTorch does not do, or None."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    # Attention with grouped queries.
    return None if version >= (2, 5) else f"{VERSION}: 2.5 is needed"


def most_sequences():
    """Of 1024 tokens that are worth a try: the 618M model's logits, their gradient and what the layers
    keep take some 3 GB each, and a try that fails costs a minute of compilation."""
    if DEVICE == "cpu":
        return 1024
    return max(4, int(torch.cuda.mem_get_info()[1] / 3e9))


class Twin:
    """`start`: the initial weights by the names of the golden files."""

    def __init__(self, model, batch, start, adamw):
        torch.set_float32_matmul_precision("high")
        self.model, self.batch = model, batch
        self.weights = {name: self.parameter(values) for name, values in start.items()}
        half = model["head_dim"] // 2
        angles = model["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.outer(torch.arange(model["context"], dtype=torch.float64), angles)
        self.cos, self.sin = angles.cos().float().to(DEVICE), angles.sin().float().to(DEVICE)
        matrices = [p for p in self.weights.values() if p.dim() == 2]
        vectors = [p for p in self.weights.values() if p.dim() == 1]
        decay = adamw["weight_decay"]
        self.adamw = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=adamw["lr"],
            betas=(adamw["beta1"], adamw["beta2"]),
            eps=adamw["eps"],
            fused=True,
        )
        self.clip = adamw["clip"]
        self.loss = torch.compile(self.loss_of)

    @staticmethod
    def parameter(values):
        # A vector is a row.
        values = torch.from_numpy(values[0] if values.shape[0] == 1 else values)
        return torch.nn.Parameter(values.to(DEVICE))

    @staticmethod
    def tokens(tokens):
        return torch.from_numpy(tokens).long().to(DEVICE)

    def norm(self, x, weight):
        eps = self.model["norm_eps"]
        return functional.rms_norm(x.float(), (x.shape[-1],), weight, eps)

    @staticmethod
    def linear(x, w):
        scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        rows = x + ((x * scale).round().clamp(-128, 127) / scale - x).detach()
        size = w.abs().mean().clamp(min=1e-5)
        ternary = w + ((w / size).round().clamp(-1, 1) * size - w).detach()
        return functional.linear(rows.bfloat16(), ternary.bfloat16())

    def heads(self, x, count):
        return x.view(self.batch, -1, count, self.model["head_dim"]).transpose(1, 2)

    def rotate(self, x):
        a, b = x.float().chunk(2, -1)
        turned = torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), -1)
        return turned.bfloat16()

    def attention(self, h, at):
        m, w = self.model, self.weights
        q = self.rotate(self.heads(self.linear(h, w[f"{at}.q_proj.weight"]), m["n_heads"]))
        k = self.rotate(self.heads(self.linear(h, w[f"{at}.k_proj.weight"]), m["n_kv_heads"]))
        v = self.heads(self.linear(h, w[f"{at}.v_proj.weight"]), m["n_kv_heads"])
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        mixed = mixed.transpose(1, 2).flatten(2)
        mixed = self.norm(mixed, w[f"{at}.attn_sub_norm.weight"])
        return self.linear(mixed, w[f"{at}.o_proj.weight"])

    def feed_forward(self, h, at):
        w = self.weights
        gate = functional.silu(self.linear(h, w[f"{at}.gate_proj.weight"]))
        hidden = gate * self.linear(h, w[f"{at}.up_proj.weight"])
        hidden = self.norm(hidden, w[f"{at}.ffn_sub_norm.weight"])
        return self.linear(hidden, w[f"{at}.down_proj.weight"])

    def loss_of(self, tokens):
        w = self.weights
        embedding = w["model.embed_tokens.weight"]
        x = functional.embedding(tokens[:, :-1], embedding)
        for i in range(self.model["n_layers"]):
            at = f"model.layers.{i}"
            x = x + self.attention(self.norm(x, w[f"{at}.input_layernorm.weight"]), f"{at}.self_attn")
            h = self.norm(x, w[f"{at}.post_attention_layernorm.weight"])
            x = x + self.feed_forward(h, f"{at}.mlp")
        hidden = self.norm(x, w["model.norm.weight"]).bfloat16().flatten(0, 1)
        logits = functional.linear(hidden, embedding.bfloat16())
        return functional.cross_entropy(logits.float(), tokens[:, 1:].flatten())

    def step(self, tokens):
        self.adamw.zero_grad(set_to_none=True)
        loss = self.loss(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.clip, foreach=True)
        self.adamw.step()
        return loss.item()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """What was compiled for one batch keeps its tensors from the next."""
        self.weights, self.adamw, self.loss = {}, None, None
        torch._dynamo.reset()
        gc.collect()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
