#include "training/adamw.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <string>
#include <type_traits>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/threads.h"
#include "tensor/dtype.h"

namespace bm {
namespace {

constexpr size_t chunk = size_t{1} << 16;  // elements of one task

struct NoRounding {
  float operator()(float value) const { return value; }
};
struct ToBf16 {
  float operator()(float value) const { return round_to_bf16(value); }
};

// Up with the probability of the part that is cut off, so that small updates survive on average.
float round_stochastically(float value, uint32_t random) {
  if (!std::isfinite(value)) return value;
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + (random & 0xffffu)) & 0xffff0000u);
}

// Weights that products read under autocast: matrices, but not the embedding that is looked up.
bool rounded_in_products(const Parameter& parameter) {
  return parameter.shape.size() == 2 && parameter.name.find("embed") == std::string::npos;
}

void round_all(std::vector<float>& values) {
  parallel_chunks(values.size(), chunk, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) values[i] = round_to_bf16(values[i]);
  });
}

}  // namespace

Result<Precision> parse_precision(std::string_view name) {
  if (name == "f32" || name == "float32") return Precision::f32;
  if (name == "bf16-masters") return Precision::bf16_masters;
  if (name == "bf16-pure") return Precision::bf16_pure;
  if (name == "bf16-stochastic") return Precision::bf16_stochastic;
  return bad_input("unknown precision \"" + std::string(name) + "\"",
                   "f32, bf16-masters, bf16-pure and bf16-stochastic are known");
}

bool decays(DecayRule rule, std::string_view parameter) {
  std::string name;
  for (char c : parameter) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (name.find("bias") != std::string::npos) return false;
  if (rule == DecayRule::all) return true;
  if (name.find("layernorm") != std::string::npos || name.find("rmsnorm") != std::string::npos) return false;
  for (const std::string& part : split(name, '.'))
    if (part == "norm" || ends_with(part, "_norm")) return false;
  return true;
}

ElementRange shard_of(size_t count, int rank, int ranks) {
  const size_t each = (count + static_cast<size_t>(ranks) - 1) / static_cast<size_t>(ranks);
  const size_t begin = std::min(count, each * static_cast<size_t>(rank));
  return {begin, std::min(count, begin + each)};
}

AdamW::AdamW(std::vector<Parameter>& parameters, const AdamWOptions& options, int rank, int ranks)
    : parameters_(parameters), options_(options), rank_(rank), ranks_(ranks) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::vector<float>& value = parameters_[i].value;
    const ElementRange part = range(i);
    exp_avg_.emplace_back(part.count(), 0.0f);
    exp_avg_sq_.emplace_back(part.count(), 0.0f);
    if (has_masters())
      masters_.emplace_back(value.begin() + static_cast<std::ptrdiff_t>(part.begin),
                            value.begin() + static_cast<std::ptrdiff_t>(part.end));
  }
  refresh();
}

ElementRange AdamW::range(size_t i) const { return shard_of(parameters_[i].value.size(), rank_, ranks_); }

void AdamW::refresh() {
  if (options_.precision == Precision::f32) return;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = parameters_[i];
    if (!masters_.empty())
      std::copy(masters_[i].begin(), masters_[i].end(),
                parameter.value.begin() + static_cast<std::ptrdiff_t>(range(i).begin));
    if (masters_.empty() || rounded_in_products(parameter)) round_all(parameter.value);
  }
}

double AdamW::squared_gradient() {
  double total = 0;
  for (size_t index = 0; index < parameters_.size(); ++index) {
    if (options_.precision == Precision::bf16_pure) round_all(parameters_[index].gradient);
    const ElementRange part = range(index);
    const float* gradient = parameters_[index].gradient.data() + part.begin;
    std::vector<double> sums((part.count() + chunk - 1) / chunk);
    parallel_chunks(part.count(), chunk, [&](size_t begin, size_t end) {
      double sum = 0;
      for (size_t i = begin; i < end; ++i)
        sum += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
      sums[begin / chunk] = sum;
    });
    for (double sum : sums) total += sum;
  }
  return total;
}

double AdamW::norm_of(double squares) const {
  const double norm = std::sqrt(squares);
  return options_.precision == Precision::bf16_pure
             ? static_cast<double>(round_to_bf16(static_cast<float>(norm)))
             : norm;
}

double AdamW::gradient_norm() { return norm_of(squared_gradient()); }

// Scalars of one update, in the float32 that the elements see.
struct AdamW::Rates {
  float clip, keep, lerp, beta1, beta2, one_minus_beta2, correction2, epsilon, minus_step;
  int64_t k;
};

namespace {

// One element in torch's order of operations; round() after each where torch's tensor is bf16.
template <class Round>
void update_element(float& value, float gradient, float& m, float& v, bool decay, float keep, float clip,
                    float lerp, float beta1, float beta2, float one_minus_beta2, float correction2,
                    float epsilon, float minus_step, Round round) {
  gradient = round(gradient * clip);
  if (decay) value = round(value * keep);
  m = lerp < 0.5f ? round(m + lerp * (gradient - m)) : round(gradient - (gradient - m) * beta1);
  v = round(v * beta2);
  v = round(v + one_minus_beta2 * gradient * gradient);
  float denominator = round(round(std::sqrt(v)) / correction2);
  denominator = round(denominator + epsilon);
  value = round(value + minus_step * m / denominator);
}

}  // namespace

void AdamW::update(size_t index, const Rates& r) {
  Parameter& parameter = parameters_[index];
  const ElementRange part = range(index);
  float* target = masters_.empty() ? parameter.value.data() + part.begin : masters_[index].data();
  const float* gradient = parameter.gradient.data() + part.begin;
  float *m = exp_avg_[index].data(), *v = exp_avg_sq_[index].data();
  bool decay = options_.weight_decay != 0 && decays(options_.decay, parameter.name);
  CounterRandom random(options_.seed, hash64(parameter.name, mix64(static_cast<uint64_t>(r.k))));
  std::vector<uint64_t> lost((part.count() + chunk - 1) / chunk), moved(lost.size());
  auto run = [&](auto round, auto finish) {
    parallel_chunks(part.count(), chunk, [&](size_t begin, size_t end) {
      uint64_t unmoved = 0, changed = 0;
      for (size_t i = begin; i < end; ++i) {
        [[maybe_unused]] const float before = target[i];
        update_element(target[i], gradient[i], m[i], v[i], decay, r.keep, r.clip, r.lerp, r.beta1, r.beta2,
                       r.one_minus_beta2, r.correction2, r.epsilon, r.minus_step, round);
        if constexpr (!std::is_same_v<decltype(finish), NoRounding>) {
          target[i] = finish(target[i], i);
          if (target[i] != before) {
            ++changed;
          } else if (m[i] != 0 && r.minus_step != 0) {
            ++unmoved;
          }
        }
      }
      lost[begin / chunk] = unmoved;
      moved[begin / chunk] = changed;
    });
  };
  if (options_.precision == Precision::bf16_pure) {
    run(ToBf16{}, [](float value, size_t) { return value; });
  } else if (options_.precision == Precision::bf16_stochastic) {
    run(NoRounding{},
        [&](float value, size_t i) { return round_stochastically(value, random.u32(part.begin + i)); });
  } else {
    run(NoRounding{}, NoRounding{});
  }
  for (size_t i = 0; i < lost.size(); ++i) lost_ += lost[i], moved_ += moved[i];
}

void AdamW::step(double rate, double norm, int64_t k) {
  double clip = options_.clip > 0 ? std::min(1.0, options_.clip / (norm + 1e-6)) : 1.0;
  double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(k));
  double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(k));
  auto f = [](double value) { return static_cast<float>(value); };
  Rates rates{f(clip),
              f(1 - rate * options_.weight_decay),
              f(1 - options_.beta1),
              f(options_.beta1),
              f(options_.beta2),
              f(1 - options_.beta2),
              f(std::sqrt(correction2)),
              f(options_.epsilon),
              f(-rate / correction1),
              k};
  if (options_.precision == Precision::bf16_pure) rates.clip = round_to_bf16(rates.clip);
  lost_ = moved_ = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) update(i, rates);
  if (!masters_.empty()) refresh();
}

}  // namespace bm
