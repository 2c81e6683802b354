"""The models that the scripts beside this run, as src/model/bench-shapes.ts has them, and what takes
their place in a rehearsal."""
from magnet_abi import REHEARSAL

MODEL_618M = {
    **{"variant": "bitnet", "vocab_size": 128256, "d_model": 1536, "n_layers": 17, "n_heads": 16},
    **{"n_kv_heads": 4, "head_dim": 96, "d_ff": 4096, "context": 1024},
    **{"rope_theta": 10000.0, "norm_eps": 1e-5},
}
SHAPE_A = {
    **{"variant": "bitnet", "vocab_size": 4096, "d_model": 256, "n_layers": 6, "n_heads": 8},
    **{"n_kv_heads": 2, "head_dim": 32, "d_ff": 704, "context": 256},
    **{"rope_theta": 10000.0, "norm_eps": 1e-5},
}
TINY = {
    **{"variant": "bitnet", "vocab_size": 300, "d_model": 64, "n_layers": 1, "n_heads": 4},
    **{"n_kv_heads": 2, "head_dim": 16, "d_ff": 128, "context": 32},
    **{"rope_theta": 10000.0, "norm_eps": 1e-5},
}
# What speed is measured with, and its name in the table.
LARGE, NAME = (TINY, "tiny") if REHEARSAL else (MODEL_618M, "618M")
# Whose losses are compared with the CPU's.
SMALL = TINY if REHEARSAL else SHAPE_A
