#!/usr/bin/env python3
"""llama.cpp through llama-cpp-python: the same figures as bench_engine, one JSON object.

usage: peer_llama.py MODEL.gguf [--threads 2] [--prefill 512,2048] [--decode 32] [--sequences 1,8] [--rounds 3]
"""
import argparse, ctypes, json, resource, statistics, time

start = time.perf_counter()
import llama_cpp as L  # noqa: E402  (its import counts as start-up)

p = argparse.ArgumentParser()
p.add_argument("model")
p.add_argument("--threads", type=int, default=2)
p.add_argument("--prefill", default="512,2048")
p.add_argument("--decode", type=int, default=32)
p.add_argument("--sequences", default="1,8")
p.add_argument("--rounds", type=int, default=3)
args = p.parse_args()
prefills = [int(x) for x in args.prefill.split(",") if x]
sequences = [int(x) for x in args.sequences.split(",") if x]

quiet = L.llama_log_callback(lambda level, text, data: None)
L.llama_log_set(quiet, ctypes.c_void_p(0))
L.llama_backend_init()
model = L.llama_model_load_from_file(args.model.encode(), L.llama_model_default_params())
assert model, "the model does not load"
vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))


def context(length, streams=1):
    c = L.llama_context_default_params()
    c.n_ctx, c.n_batch, c.n_ubatch, c.n_seq_max = length, max(512, streams), 512, streams
    c.n_threads = c.n_threads_batch = args.threads
    return L.llama_init_from_model(model, c)


def feed(ctx, parts):
    """parts: (sequence, first position, tokens); the last token of each gives logits."""
    rows = [(s, at + i, t, i == len(ids) - 1) for s, at, ids in parts for i, t in enumerate(ids)]
    for begin in range(0, len(rows), 512):
        piece = rows[begin:begin + 512]
        batch = L.llama_batch_init(len(piece), 0, 1)
        batch.n_tokens = len(piece)
        for i, (s, at, t, last) in enumerate(piece):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = t, at, 1, last
            batch.seq_id[i][0] = s
        assert L.llama_decode(ctx, batch) == 0
        L.llama_batch_free(batch)
    L.llama_synchronize(ctx)


def prompt(count, shift):
    return [(i * 7919 + shift * 31 + 3) % vocab for i in range(count)]


loaded = time.perf_counter() - start
ctx = context(max(prefills + [64]) + 8)
feed(ctx, [(0, 0, prompt(32, 0))])
first = time.perf_counter() - start
memory = L.llama_get_memory(ctx)
out = {"engine": "llama.cpp " + getattr(L, "__version__", ""), "threads": args.threads, "load_seconds": loaded,
       "first_score_seconds": first, "prefill_tokens_per_second": {}, "decode_tokens_per_second": {}}
for count in prefills:
    times = []
    for _ in range(args.rounds):
        L.llama_memory_clear(memory, True)
        begin = time.perf_counter()
        feed(ctx, [(0, 0, prompt(count, count))])
        times.append(time.perf_counter() - begin)
    out["prefill_tokens_per_second"][str(count)] = count / statistics.median(times)
L.llama_free(ctx)
for count in sequences:
    ctx = context((16 + args.decode) * count + 64, count)
    memory = L.llama_get_memory(ctx)
    times = []
    for _ in range(args.rounds):
        L.llama_memory_clear(memory, True)
        feed(ctx, [(s, 0, prompt(16, s)) for s in range(count)])
        begin = time.perf_counter()
        for i in range(args.decode):
            feed(ctx, [(s, 16 + i, [5]) for s in range(count)])
        times.append((time.perf_counter() - begin) / args.decode)
    out["decode_tokens_per_second"][str(count)] = count / statistics.median(times)
    L.llama_free(ctx)
out["resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(out))
