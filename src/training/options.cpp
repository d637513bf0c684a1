#include "training/options.h"

#include <cmath>

#include "model/trainable.h"

namespace bm {

TrainingSwitches switches_of(Mode mode) {
  TrainingSwitches switches;
  if (mode == Mode::peer) switches.shuffle = OrderRule::seedable;
  if (mode == Mode::as_published)
    switches = {DecayRule::all, OrderRule::plain_sampler, AccumulationRule::continuous, true};
  return switches;
}

Status check_training_options(const TrainOptions& o) {
  auto wrong = [](const std::string& what) { return bad_input(what); };
  if (o.steps < 0 || o.epochs < 0) return wrong("--steps and --epochs cannot be negative");
  if (o.steps > 0 && o.epochs > 0)
    return bad_input("both --steps and --epochs are given", "Give one of them");
  if (o.micro_batch < 1) return wrong("--micro-batch must be 1 or more");
  if (o.accumulate < 1) return wrong("--accumulate must be 1 or more");
  if (!(o.lr >= 0) || !std::isfinite(o.lr)) return wrong("--lr must be 0 or more");
  if (!(o.warmup >= 0)) return wrong("--warmup must be 0 or more");
  if (!(o.beta1 >= 0 && o.beta1 < 1) || !(o.beta2 >= 0 && o.beta2 < 1))
    return wrong("--beta1 and --beta2 must be in [0, 1)");
  if (!(o.epsilon > 0)) return wrong("--epsilon must be above 0");
  if (!(o.weight_decay >= 0) || !(o.clip >= 0)) return wrong("--weight-decay and --clip must be 0 or more");
  if (!(o.decay_share >= 0 && o.decay_share <= 1)) return wrong("--decay-share must be in [0, 1]");
  if (o.save_every < 0 || o.keep < 1 || o.keep_every < 0 || o.evaluate_every < 0)
    return wrong("--save-every, --keep-every and --evaluate-every must be 0 or more, --keep 1 or more");
  if (o.early_stop < 0 || !(o.skip_outliers >= 0))
    return wrong("--early-stop and --skip-outliers must be 0 or more");
  if (o.ranks < 1) return wrong("--ranks must be 1 or more");
  if (o.order != "shuffled" && o.order != "sequential")
    return bad_input("unknown order \"" + o.order + "\"", "shuffled and sequential are known");
  const auto checkpointing = parse_checkpointing(o.checkpointing);
  if (!checkpointing.ok()) return checkpointing.error();
  if (o.evaluate_every > 0 && o.evaluate_data.empty())
    return bad_input("--evaluate-every needs --evaluate-data");
  if (o.early_stop > 0 && o.evaluate_every == 0)
    return bad_input("--early-stop needs --evaluate-every", "It counts evaluations of held-out data");
  if (o.out.empty()) return bad_input("no output folder given", "Give --out DIR");
  return {};
}

void describe_training(Fields& f, TrainOptions& o) {
  f.add("out", o.out, "folder to write", {.unit = "folder", .result_neutral = true});
  f.add("steps", o.steps, "optimizer steps; 0 = by --epochs", {.unit = "steps"});
  f.add("epochs", o.epochs, "passes over the data, fractions allowed; 0 = one, unless --steps is given",
        {.unit = "epochs"});
  f.add("micro-batch", o.micro_batch, "sequences of one forward and backward pass", {.unit = "sequences"});
  f.add("accumulate", o.accumulate, "micro-batches of one step", {.unit = "micro-batches"});
  f.add("lr", o.lr, "peak learning rate");
  f.add("schedule", o.schedule, "course of the learning rate",
        {.choices = {"cosine", "linear", "constant", "wsd"}});
  f.add("warmup", o.warmup, "warm-up steps; below 1: a share of all steps", {.unit = "steps"});
  f.add("decay-share", o.decay_share, "wsd: last share of the steps, in which the rate falls linearly to 0");
  f.add("beta1", o.beta1, "AdamW: decay of the mean of gradients");
  f.add("beta2", o.beta2, "AdamW: decay of the mean of squared gradients");
  f.add("epsilon", o.epsilon, "AdamW: added to the root of the second moment");
  f.add("weight-decay", o.weight_decay, "AdamW: decoupled weight decay");
  f.add("clip", o.clip, "largest gradient norm; 0 = no clipping");
  f.add("precision", o.precision, "what is kept and updated in which precision",
        {.choices = {"f32", "bf16-masters", "bf16-pure", "bf16-stochastic"}});
  f.add("order", o.order, "order of the blocks in an epoch", {.choices = {"shuffled", "sequential"}});
  f.add("document-mask", o.document_mask, "tokens see only their own document, positions start at 0 in each");
  f.add("checkpointing", o.checkpointing,
        "activations computed again instead of kept: none, gate and up of the MLP, whole layers",
        {.choices = {"none", "cheap", "block"}, .result_neutral = true});
  f.add("save-every", o.save_every, "steps between checkpoints; 0 = at the end and when stopped",
        {.unit = "steps", .result_neutral = true});
  f.add("keep", o.keep, "newest checkpoints to keep", {.unit = "checkpoints", .result_neutral = true});
  f.add("keep-every", o.keep_every, "checkpoints at multiples of this are never removed; 0 = none",
        {.unit = "steps", .result_neutral = true});
  f.add("evaluate-data", o.evaluate_data,
        "held-out JSON lines with \"text\", or data as of --data; may be given several times",
        {.unit = "path", .result_neutral = true});
  f.add("evaluate-every", o.evaluate_every,
        "steps between evaluations; 0 = before the first and after the last", {.unit = "steps"});
  f.add("early-stop", o.early_stop,
        "evaluations in a row without a better loss, after which training ends with the best weights; 0 = "
        "never",
        {.unit = "evaluations"});
  f.add("skip-outliers", o.skip_outliers,
        "leave out the update of a step whose loss or gradient norm lies this many standard deviations above "
        "the last 128; 0 = never");
  f.add("dtype", o.dtype,
        "dtype of final/: f32, bf16, f16; default: as the base is stored (an adapter: f32)");
  f.add("ranks", o.ranks,
        "processes on this machine that share the work; `mpirun -n N` spreads over machines",
        {.unit = "processes", .result_neutral = true});
}

}  // namespace bm
