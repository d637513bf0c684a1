// What pretrain and finetune print at the end.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

#include "base/log.h"
#include "cli/verb.h"
#include "training/train_stage.h"

namespace bm {

inline std::string train_report_text(const TrainReport& report, const std::string& out) {
  const auto number = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return std::string(text);
  };
  if (report.dry_run)
    return "would take " + format_count(static_cast<uint64_t>(report.steps)) +
           " steps: " + report.summary.dump_spaced();
  std::string text = out + ": " + (report.already_complete ? "already complete, " : "") +
                     format_count(static_cast<uint64_t>(report.steps)) + " steps, " +
                     format_count(report.tokens) + " tokens, loss " + number(report.first_loss) + " → " +
                     number(report.last_loss);
  if (report.first_held_out_loss && report.last_held_out_loss)
    text += ", held-out perplexity " + number(std::exp(*report.first_held_out_loss)) + " → " +
            number(std::exp(*report.last_held_out_loss));
  return text;
}

inline void print_train_report(const TrainReport& report, const std::string& out, bool json) {
  if (report.summary.is_null()) return;  // a rank other than the first
  print_line(json ? report.summary.dump_spaced() : train_report_text(report, out));
}

}  // namespace bm
