// A run folder as `biomistral run` leaves it, small and made up: every stage with the files the report reads.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "paths.h"

namespace bm::testing {

inline void write_text(const std::string& path, const std::string& text) {
  ASSERT_TRUE(make_directories(path_parent(path)).ok());
  ASSERT_TRUE(write_file_atomic(path, text).ok());
}

inline void write_stage(const std::string& folder, const std::string& verb, const std::string& options,
                        const std::string& results, const std::string& status = "complete") {
  std::string hash(64, 'a');
  write_text(folder + "/manifest.json",
             "{\"program\": \"biomistral\", \"version\": \"0.1.0\", \"commit\": \"0123abc\", \"compiler\": "
             "\"g++ 12.2.0\", \"status\": \"" +
                 status + "\", \"verb\": \"" + verb +
                 "\", \"mode\": \"corrected\", \"seed\": 42, \"options\": " + options +
                 ", \"inputs\": [{\"role\": \"model\", \"path\": \"data/demo/stories260k\", \"sha256\": \"" +
                 hash + "\"}], \"results\": " + results +
                 ", \"timings\": {\"last_run_seconds\": 12.5}, \"peak_memory_bytes\": 104857600}");
}

inline void write_corpus(const std::string& run) {
  write_stage(run + "/corpus", "corpus", "{\"sequence-length\": 256}", "{}");
  write_text(
      run + "/corpus/stats.json",
      R"({"articles": {"read": 60, "kept": 41, "held_out": 5, "rejected": 16, "broken": 1, "duplicate": 2},
 "rejected_for": {"licence does not allow derivatives": 12, "no licence found": 4}, "words": 201345, "tokens": 612034, "sequences": 2391,
 "licenses": {"CC BY 4.0": {"articles": 31, "words": 150000, "tokens": 450000}, "CC0 1.0": {"articles": 10, "words": 51345, "tokens": 162034}},
 "journals": {"PLoS ONE": {"articles": 30, "words": 140000, "tokens": 430000}, "J <b>Med</b> & Co": {"articles": 11, "words": 61345, "tokens": 182034}}})");
}

inline void write_training(const std::string& run) {
  write_stage(
      run + "/pretrain", "pretrain",
      R"({"micro-batch": 8, "accumulate": 1, "lr": 0.002, "schedule": "cosine", "precision": "f32"})",
      R"({"parameters": 260032, "steps": 300, "tokens": 614400, "first_loss": 6.9, "last_loss": 4.12, "first_held_out_loss": 6.8,
"first_held_out_perplexity": 897.8, "last_held_out_loss": 4.2, "last_held_out_perplexity": 66.7})");
  std::string log;
  CounterRandom random(1, 1);
  for (int step = 1; step <= 300; ++step) {
    double loss = 4 + 2.9 * std::exp(-step / 60.0) + 0.08 * random.normal(static_cast<uint64_t>(step));
    Json line = Json::object({{"step", step},
                              {"loss", loss},
                              {"lr", 0.002},
                              {"tokens", step * 2048},
                              {"tokens_per_second", 21000.0}});
    if (step % 50 == 0) line.set("evaluate_loss", 4.1 + 2.7 * std::exp(-step / 60.0));
    log += line.dump() + "\n";
  }
  write_text(run + "/pretrain/metrics.jsonl", log);
  write_text(run + "/pretrain/evaluation_before.json", R"({"step": 0, "evaluate_loss": 6.8})");
  write_text(run + "/pretrain/final/model.safetensors", std::string(1040000, 'x'));
}

inline void write_predictions(const std::string& run, const std::string& model, int skill) {
  CounterRandom random(static_cast<uint64_t>(skill), 3);
  for (const std::string task : {"medqa", "pubmedqa", "mmlu_anatomy"})
    for (int draw = 1; draw <= 3; ++draw) {
      std::string lines;
      std::string letters = task == "pubmedqa" ? "ABC" : "ABCD";
      for (uint64_t i = 0; i < 60; ++i) {
        uint64_t at = i + 1000 * static_cast<uint64_t>(draw) + 7000 * task.size();
        auto correct = static_cast<size_t>(random.below(at, letters.size()));
        auto chosen = random.uniform(at + 50000) * 100 < static_cast<float>(skill)
                          ? correct
                          : static_cast<size_t>(random.below(at + 90000, letters.size()));
        Json probabilities = Json::object();
        double confidence = 0.3 + 0.6 * static_cast<double>(random.uniform(at + 130000));
        for (size_t l = 0; l < letters.size(); ++l)
          probabilities.set(
              std::string(1, letters[l]),
              l == chosen ? confidence : (1 - confidence) / static_cast<double>(letters.size() - 1));
        lines += Json::object(
                     {{"identifier", task + std::to_string(i)},
                      {"correct_letter", std::string(1, letters[correct])},
                      {"best_prediction", i % 10 == 0 ? std::string("The") : std::string(1, letters[chosen])},
                      {"predictions", probabilities},
                      {"prompt_tokens", 120}})
                     .dump() +
                 "\n";
      }
      write_text(run + "/evaluate/" + model + "/" + task + ".en.draw" + std::to_string(draw) + ".jsonl",
                 lines);
    }
}

// run/manifest.json, corpus, pretrain, slerp, dare, awq, compare, evaluate; `report` planned.
inline void write_run(const std::string& run) {
  write_text(
      run + "/manifest.json",
      R"({"program": "biomistral", "version": "0.1.0", "verb": "run", "status": "running", "cpu": "Some CPU", "base": "",
"planned": ["corpus", "pretrain", "slerp", "dare", "awq", "compare", "evaluate", "report"],
"stages": [{"name": "corpus", "verb": "corpus", "seconds": 3.5}, {"name": "pretrain", "verb": "pretrain", "seconds": 61}]})");
  write_text(run + "/recipe.yaml",
             "base: {model: stories260k}\nstages:\n  - corpus: {inputs: [\"a <b> & c\"]}\n");
  write_corpus(run);
  write_training(run);
  for (const std::string name : {"slerp", "dare"}) {
    std::string method = name == "slerp" ? "slerp" : "dare_ties";
    std::string warnings =
        name == "dare"
            ? "[\"one task vector with normalize: `weight` has no effect <script>alert(1)</script>\"]"
            : "[]";
    write_stage(run + "/" + name, "merge", "{}",
                "{\"method\": \"" + method +
                    "\", \"mode\": \"corrected\", \"seed\": 42, \"tensors\": 47, \"layers\": 5, \"bytes\": "
                    "1040000, \"dtype\": \"float32\", \"warnings\": " +
                    warnings + "}");
    write_text(run + "/" + name + "/model.safetensors", std::string(1040000, 'x'));
  }
  write_stage(
      run + "/awq", "quantize", R"({"method": "awq-gemm"})",
      R"({"quantized_linears": 30, "left_as_they_are": [{"module": "model.layers.0.mlp.down_proj", "reason": "172 inputs are no multiple of the group of 64"},
{"module": "model.layers.1.mlp.down_proj", "reason": "172 inputs are no multiple of the group of 64"}], "unscaled_groups": [], "bytes_before": 1040000, "bytes_after": 401408,
"quality": {"tokens": 4096, "perplexity_original": 66.7, "perplexity_quantized": 68.1, "kl_mean": 0.021, "kl_99": 0.18, "kl_max": 0.9, "top_token_agreement": 0.911}})");
  write_text(run + "/awq/model.safetensors", std::string(401408, 'x'));
  write_stage(
      run + "/compare", "compare", R"({"reference": "pretrain"})",
      R"({"reference": "out/pretrain/final", "models": [{"model": "base", "reference_perplexity": 66.7, "perplexity": 897.8, "kl_mean": 2.9, "top_token_agreement": 0.21,
"weights": {"relative_error": 0.31}}, {"model": "out/awq", "reference_perplexity": 66.7, "perplexity": 68.1, "kl_mean": 0.021, "top_token_agreement": 0.911}]})");
  write_stage(run + "/evaluate", "evaluate",
              R"({"names": ["base", "pretrain", "slerp"], "rule": "top1", "limit": 60})",
              R"({"files": 27, "failed_items": 0})");
  write_predictions(run, "base", 0);
  write_predictions(run, "pretrain", 3);
  write_predictions(run, "slerp", 30);
}

}  // namespace bm::testing
