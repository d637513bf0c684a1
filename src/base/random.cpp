#include "base/random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <unordered_set>

namespace bm {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t{0xD2511F53u} * c[0];
    uint64_t b = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(a)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

namespace {

std::array<uint32_t, 4> draw(uint64_t seed, uint64_t purpose, uint64_t index) {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                     static_cast<uint32_t>(purpose), static_cast<uint32_t>(purpose >> 32)},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

uint64_t join(uint32_t high, uint32_t low) { return (uint64_t{high} << 32) | low; }

}  // namespace

uint32_t CounterRandom::u32(uint64_t index) const { return draw(seed_, purpose_, index)[0]; }

float CounterRandom::uniform(uint64_t index) const { return static_cast<float>(u32(index) >> 8) * 0x1p-24f; }

double CounterRandom::uniform53(uint64_t index) const {
  auto words = draw(seed_, purpose_, index);
  return static_cast<double>(join(words[0], words[1]) >> 11) * 0x1p-53;
}

double CounterRandom::normal(uint64_t index) const {
  auto words = draw(seed_, purpose_, index);
  double u = (static_cast<double>(join(words[0], words[1]) >> 11) + 1.0) * 0x1p-53;  // (0, 1]
  double v = static_cast<double>(join(words[2], words[3]) >> 11) * 0x1p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t CounterRandom::below(uint64_t index, uint64_t bound) const {
  // Lemire's method; a rejected word (probability bound / 2^64) is followed by the counter's other
  // half and then by re-keyed counters.
  uint64_t limit = (0 - bound) % bound;
  for (uint64_t attempt = 0;; ++attempt) {
    auto words = draw(seed_, purpose_ + attempt * 0x9E3779B97F4A7C15u, index);
    for (int half = 0; half < 2; ++half) {
      uint64_t x = join(words[static_cast<size_t>(2 * half)], words[static_cast<size_t>(2 * half + 1)]);
      __extension__ using Wide = unsigned __int128;
      Wide product = static_cast<Wide>(x) * bound;
      if (static_cast<uint64_t>(product) >= limit) return static_cast<uint64_t>(product >> 64);
    }
  }
}

std::vector<uint64_t> counter_permutation(uint64_t n, uint64_t seed, uint64_t purpose) {
  std::vector<uint64_t> order(n);
  std::iota(order.begin(), order.end(), uint64_t{0});
  CounterRandom random(seed, purpose);
  for (uint64_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
  return order;
}

Mt19937::Mt19937(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < 624; ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
}

Mt19937 Mt19937::by_array(std::span<const uint32_t> key) {
  Mt19937 engine(19650218u);
  auto& s = engine.state_;
  size_t i = 1, j = 0;
  for (size_t k = std::max<size_t>(624, key.size()); k; --k) {
    s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + key[j] + static_cast<uint32_t>(j);
    if (++i >= 624) {
      s[0] = s[623];
      i = 1;
    }
    if (++j >= key.size()) j = 0;
  }
  for (size_t k = 623; k; --k) {
    s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - static_cast<uint32_t>(i);
    if (++i >= 624) {
      s[0] = s[623];
      i = 1;
    }
  }
  s[0] = 0x80000000u;
  engine.index_ = 624;
  return engine;
}

void Mt19937::generate() {
  for (size_t i = 0; i < 624; ++i) {
    uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % 624] & 0x7fffffffu);
    state_[i] = state_[(i + 397) % 624] ^ (y >> 1) ^ ((y & 1) ? 0x9908b0dfu : 0u);
  }
  index_ = 0;
}

uint32_t Mt19937::next() {
  if (index_ >= 624) generate();
  uint32_t y = state_[index_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

float Mt19937::torch_uniform() { return static_cast<float>(next() & 0xFFFFFFu) * 0x1p-24f; }

std::vector<int64_t> Mt19937::torch_randperm(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = 0; i + 1 < n; ++i) {
    int64_t j = i + static_cast<int64_t>(next() % static_cast<uint64_t>(n - i));
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]);
  }
  return order;
}

namespace {
Mt19937 python_engine(uint64_t seed) {
  std::array<uint32_t, 2> key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  return Mt19937::by_array(std::span<const uint32_t>(key.data(), key[1] ? 2u : 1u));
}
}  // namespace

PythonRandom::PythonRandom(uint64_t seed) : engine_(python_engine(seed)) {}

double PythonRandom::random() {
  uint32_t a = engine_.next() >> 5, b = engine_.next() >> 6;
  return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0);
}

uint32_t PythonRandom::getrandbits(unsigned bits) { return engine_.next() >> (32 - bits); }

uint64_t PythonRandom::randbelow(uint64_t n) {
  unsigned bits = 0;
  for (uint64_t rest = n; rest; rest >>= 1) ++bits;  // n.bit_length()
  for (;;) {
    uint64_t value;
    if (bits <= 32) {
      value = getrandbits(bits);
    } else {
      uint64_t low = engine_.next();
      value = (uint64_t{engine_.next() >> (64 - bits)} << 32) | low;
    }
    if (value < n) return value;
  }
}

std::vector<uint64_t> PythonRandom::sample(uint64_t population, uint64_t count) {
  std::vector<uint64_t> result(count);
  // CPython's threshold between a shuffled pool and a set of picks.
  uint64_t set_size = 21;
  if (count > 5) {
    double power = std::ceil(std::log(static_cast<double>(count) * 3) / std::log(4.0));
    set_size += static_cast<uint64_t>(std::pow(4.0, power));
  }
  if (population <= set_size) {
    std::vector<uint64_t> pool(population);
    std::iota(pool.begin(), pool.end(), uint64_t{0});
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t j = randbelow(population - i);
      result[i] = pool[j];
      pool[j] = pool[population - i - 1];
    }
    return result;
  }
  std::unordered_set<uint64_t> taken;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t j = randbelow(population);
    while (!taken.insert(j).second) j = randbelow(population);
    result[i] = j;
  }
  return result;
}

}  // namespace bm
