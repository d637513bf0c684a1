#include "training/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/hash.h"
#include "base/random.h"

namespace bm {
namespace {

std::vector<uint64_t> torch_order(uint64_t n, uint64_t seed) {
  std::vector<uint64_t> order;
  order.reserve(n);
  for (int64_t index : Mt19937(static_cast<uint32_t>(seed)).torch_randperm(static_cast<int64_t>(n)))
    order.push_back(static_cast<uint64_t>(index));
  return order;
}

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

std::vector<uint64_t> epoch_order(OrderRule rule, uint64_t n, uint64_t seed, uint64_t epoch) {
  switch (rule) {
    case OrderRule::seedable:
      return torch_order(n, seed + epoch);
    case OrderRule::counter:
      return counter_permutation(n, seed, mix64(hash64("training order") + epoch));
    case OrderRule::plain_sampler: {
      // Each epoch draws 64 bits, (next32 << 32 | next32); MT19937 keeps their low half.
      Mt19937 generator(static_cast<uint32_t>(seed));
      uint32_t low = 0;
      for (uint64_t draw = 0; draw < 2 * epoch + 2; ++draw) low = generator.next();
      return torch_order(n, low);
    }
    case OrderRule::sequential:
      break;
  }
  std::vector<uint64_t> order(n);
  std::iota(order.begin(), order.end(), uint64_t{0});
  return order;
}

BatchPlan::BatchPlan(uint64_t blocks, int64_t micro_batch, int64_t accumulate, OrderRule order,
                     AccumulationRule rule, uint64_t seed)
    : BatchPlan(std::vector<MixedSource>{{0, blocks, blocks}}, micro_batch, accumulate, order, rule, seed) {}

BatchPlan::BatchPlan(std::vector<MixedSource> sources, int64_t micro_batch, int64_t accumulate,
                     OrderRule order, AccumulationRule rule, uint64_t seed)
    : sources_(std::move(sources)),
      blocks_(0),
      seed_(seed),
      micro_batch_(micro_batch),
      accumulate_(accumulate),
      batches_(0),
      order_(order),
      rule_(rule) {
  for (const MixedSource& source : sources_) blocks_ += source.an_epoch;
  batches_ = ceil_divide(static_cast<int64_t>(blocks_), micro_batch);
  // An epoch shorter than one accumulation ends with an update under either rule.
  if (batches_ <= accumulate_) rule_ = AccumulationRule::by_epoch;
}

int64_t BatchPlan::steps_per_epoch() const {
  return rule_ == AccumulationRule::by_epoch ? ceil_divide(batches_, accumulate_) : batches_ / accumulate_;
}

int64_t BatchPlan::steps_of(double epochs) const {
  return std::max<int64_t>(1,
                           static_cast<int64_t>(std::ceil(epochs * static_cast<double>(steps_per_epoch()))));
}

// The blocks an epoch takes, source after source.
std::vector<uint64_t> BatchPlan::blocks_of(uint64_t epoch) const {
  std::vector<uint64_t> blocks;
  blocks.reserve(blocks_);
  for (size_t i = 0; i < sources_.size(); ++i) {
    const MixedSource& source = sources_[i];
    std::vector<uint64_t> order;
    uint64_t pass = ~uint64_t{0};
    for (uint64_t draw = epoch * source.an_epoch; i > 0 && draw < (epoch + 1) * source.an_epoch; ++draw) {
      if (draw / source.count != pass) {
        pass = draw / source.count;
        order = counter_permutation(source.count, seed_, mix64(hash64("mixed source", i) + pass));
      }
      blocks.push_back(source.first + order[draw % source.count]);
    }
    for (uint64_t place = 0; i == 0 && place < source.an_epoch; ++place)
      blocks.push_back(source.first + place);
  }
  return blocks;
}

// Blocks of a batch counted over all epochs.
std::vector<uint64_t> BatchPlan::batch(int64_t index) {
  int64_t epoch = index / batches_;
  if (epoch != cached_epoch_) {
    cached_order_ = epoch_order(order_, blocks_, seed_, static_cast<uint64_t>(epoch));
    if (sources_.size() > 1) {
      const std::vector<uint64_t> blocks = blocks_of(static_cast<uint64_t>(epoch));
      for (uint64_t& place : cached_order_) place = blocks[place];
    }
    cached_epoch_ = epoch;
  }
  auto first = static_cast<size_t>(index % batches_ * micro_batch_);
  size_t last = std::min<size_t>(first + static_cast<size_t>(micro_batch_), cached_order_.size());
  return {cached_order_.begin() + static_cast<std::ptrdiff_t>(first),
          cached_order_.begin() + static_cast<std::ptrdiff_t>(last)};
}

const std::vector<std::vector<uint64_t>>& BatchPlan::step(int64_t s) {
  if (s == cached_step_) return cached_;
  int64_t begin = s * accumulate_, end = begin + accumulate_;
  if (rule_ == AccumulationRule::by_epoch) {
    int64_t epoch = s / steps_per_epoch();
    begin = epoch * batches_ + s % steps_per_epoch() * accumulate_;
    end = std::min(begin + accumulate_, (epoch + 1) * batches_);
  }
  cached_.clear();
  for (int64_t i = begin; i < end; ++i) cached_.push_back(batch(i));
  cached_step_ = s;
  return cached_;
}

}  // namespace bm
