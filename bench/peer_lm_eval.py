#!/usr/bin/env python3
"""lm-evaluation-harness on transformers: letters behind given prompts, items a second (loading not counted).

usage: peer_lm_eval.py MODEL_FOLDER REQUESTS.jsonl [--threads 2] [--batch 1] [--limit N]
REQUESTS: {"prompt", "continuations": [" A", ...]} a line, as `biomistral score` reads them. One JSON object on
standard output, with the choice of each item.
"""
import argparse, json, time
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

p = argparse.ArgumentParser()
p.add_argument("model")
p.add_argument("requests")
p.add_argument("--threads", type=int, default=2)
p.add_argument("--batch", type=int, default=1)
p.add_argument("--limit", type=int, default=0)
args = p.parse_args()
torch.set_num_threads(args.threads)
lines = [json.loads(line) for line in open(args.requests)]
lines = lines[: args.limit or None]
lm = HFLM(pretrained=args.model, device="cpu", dtype="float32", batch_size=args.batch)
instances = [Instance("loglikelihood", {}, (line["prompt"], c), 0) for line in lines for c in line["continuations"]]
lm.loglikelihood(instances[: len(lines[0]["continuations"])])  # warm
start = time.perf_counter()
scores = lm.loglikelihood(instances, disable_tqdm=True)
seconds = time.perf_counter() - start
choices, at = [], 0
for line in lines:
    some = [s[0] for s in scores[at : at + len(line["continuations"])]]
    at += len(some)
    choices.append(some.index(max(some)))
print(json.dumps({"engine": "lm-eval on transformers", "items": len(lines), "seconds": seconds,
                  "items_per_second": len(lines) / seconds, "choices": choices}))
