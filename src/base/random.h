// Random numbers: counter-based ones keyed by what they decide (architecture rule 5), and the
// generators whose exact streams the peers' results depend on.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace bm {

// Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words from a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// A stream keyed by (seed, what it decides); element i is a pure function of the key and i.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, uint64_t purpose) : seed_(seed), purpose_(purpose) {}
  uint32_t u32(uint64_t index) const;
  float uniform(uint64_t index) const;    // [0, 1), 24 bits
  double uniform53(uint64_t index) const; // [0, 1), 53 bits
  double normal(uint64_t index) const;    // Box-Muller on two words of the same counter
  // Uniform integer in [0, bound), unbiased by 64-bit multiply with rejection on further words.
  uint64_t below(uint64_t index, uint64_t bound) const;

 private:
  uint64_t seed_, purpose_;
};

// Fisher-Yates permutation of 0..n-1, a pure function of (seed, purpose).
std::vector<uint64_t> counter_permutation(uint64_t n, uint64_t seed, uint64_t purpose);

// MT19937 as NumPy/torch/CPython seed and draw it.
class Mt19937 {
 public:
  explicit Mt19937(uint32_t seed);              // init_genrand (torch.manual_seed's low 32 bits)
  static Mt19937 by_array(std::span<const uint32_t> key);  // init_by_array (CPython's random.seed)
  uint32_t next();
  float torch_uniform();   // (x & 0xFFFFFF) * 2^-24, torch's float32 CPU uniform
  std::vector<int64_t> torch_randperm(int64_t n);  // torch.randperm on CPU, n < 2^32 - 1 scheme

 private:
  Mt19937() = default;
  void generate();
  std::array<uint32_t, 624> state_{};
  unsigned index_ = 624;
};

// CPython's random.Random(int seed): random(), getrandbits, _randbelow, shuffle, sample.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  double random();                      // 53 bits
  uint32_t getrandbits(unsigned bits);  // 1..32
  uint64_t randbelow(uint64_t n);
  std::vector<uint64_t> sample(uint64_t population, uint64_t count);  // indices, as random.sample(range(n), k)
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (uint64_t i = items.size(); i-- > 1;) {
      uint64_t j = randbelow(i + 1);
      std::swap(items[i], items[j]);
    }
  }

 private:
  Mt19937 engine_;
};

}  // namespace bm
