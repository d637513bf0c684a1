// The switches in which AutoAWQ of today, AutoAWQ of early 2024 and what we would defend differ.
#pragma once

#include <cstdint>

#include "base/stage.h"
#include "tensor/awq_groups.h"

namespace bm {

struct AwqSwitches {
  bool epsilon_in_scales = true;  // s = x^r / (w^(1-r) + 1e-4); AutoAWQ 0.1.8-0.2.0 lacked the 1e-4
  bool identity_on_grid = false;  // "no scaling" competes too; AutoAWQ's ratio 0 is 1/w_mean, not identity
  bool widen_to_zero = false;     // group ranges contain zero (AutoAWQ destroys groups of one sign)
  bool leave_non_finite =
      false;  // a group whose losses are not finite is named and left unscaled; else an error
  bool all_tokens_in_clip = false;  // AutoAWQ takes every (n/512)-th token
  bool exact_norms = false;  // scales follow the rounding of the stored norm, so scaling itself loses nothing
  bool float32_codes = false;  // codes from float32 weights and the stored scale; AutoAWQ computes in float16
  bool sets_do_sample = false;  // AutoAWQ switches sampling on in generation_config.json
};

inline AwqSwitches awq_switches(Mode mode) {
  if (mode == Mode::corrected)
    return {.epsilon_in_scales = true,
            .identity_on_grid = true,
            .widen_to_zero = true,
            .leave_non_finite = true,
            .all_tokens_in_clip = true,
            .exact_norms = true,
            .float32_codes = true,
            .sets_do_sample = false};
  return {.epsilon_in_scales = mode == Mode::peer, .sets_do_sample = true};
}

struct AwqSearchOptions {
  int64_t group = 128;  // 0 = the whole row
  int64_t grid = 20;
  bool duo_scaling = true;
  bool clip = true;
  DType precision =
      DType::f32;  // f32, or f16: weights, scales and outputs rounded to float16 as the peer's are
  AwqSwitches switches;

  int64_t group_of(int64_t columns) const { return group == 0 ? columns : group; }
  // The quantizer whose error the search measures, for rows of so many inputs.
  AwqGroupOptions search_groups(int64_t columns) const {
    return {.group = group_of(columns),
            .precision = precision,
            .widen_to_zero = switches.widen_to_zero,
            .store_scale_f16 = switches.float32_codes};
  }
  // The one the weights are packed with.
  AwqGroupOptions packing_groups() const {
    return {.group = group,
            .precision = switches.float32_codes ? DType::f32 : DType::f16,
            .widen_to_zero = switches.widen_to_zero,
            .store_scale_f16 = switches.float32_codes};
  }
};

}  // namespace bm
