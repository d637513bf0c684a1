// Ranks as forked processes over one shared map: a control block and a buffer a rank.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "base/log.h"
#include "parallel/communicator.h"

namespace bm {
namespace {

constexpr int most_ranks = 256;
constexpr int interrupted_code = 130;
constexpr int unfinished = -1;
constexpr size_t buffer_floats = size_t{1} << 20;  // a rank

struct Control {
  std::atomic<uint32_t> arrived{0}, generation{0};
  std::atomic<int32_t> dead{-1};           // rank that ended early
  std::atomic<int32_t> codes[most_ranks];  // what a rank ended with; unfinished while it runs
};

void pause_a_little(int spin) {
  if (spin < 4000) return;
  std::this_thread::sleep_for(std::chrono::microseconds(spin < 8000 ? 20 : 200));
}

class Local final : public Communicator {
 public:
  Local(Control* control, float* buffers, int rank, int size) : control_(control), buffers_(buffers) {
    rank_ = rank;
    size_ = size;
  }
  const char* name() const override { return "shared memory"; }

  Status barrier() override {
    const uint32_t generation = control_->generation.load(std::memory_order_acquire);
    if (control_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
      control_->arrived.store(0, std::memory_order_relaxed);
      control_->generation.fetch_add(1, std::memory_order_acq_rel);
      return {};
    }
    for (int spin = 0; control_->generation.load(std::memory_order_acquire) == generation; ++spin) {
      if (const int dead = control_->dead.load(); dead >= 0)
        return failed("rank " + std::to_string(dead) + " of " + std::to_string(size_) + " no longer answers");
      pause_a_little(spin);
    }
    return {};
  }

  Status broadcast(std::span<std::byte> bytes, int root) override {
    const size_t most = buffer_floats * sizeof(float);
    for (size_t at = 0; at < bytes.size(); at += most) {
      const size_t n = std::min(most, bytes.size() - at);
      if (rank_ == root) std::memcpy(buffer(root), bytes.data() + at, n);
      BM_CHECK_OK(barrier());
      if (rank_ != root) std::memcpy(bytes.data() + at, buffer(root), n);
      BM_CHECK_OK(barrier());
    }
    return {};
  }

  Status reduce_scatter(float* values, std::span<const size_t> starts) override {
    const size_t slice = buffer_floats / static_cast<size_t>(size_);
    for (size_t at = 0; at < longest(starts); at += slice) {
      for (int r = 0; r < size_; ++r)
        copy_slice(values + starts[at_of(r)], buffer(rank_) + at_of(r) * slice, at, slice, starts, r);
      BM_CHECK_OK(barrier());
      const size_t n = slice_length(at, slice, starts, rank_);
      float* out = values + starts[at_of(rank_)] + at;
      for (int r = 0; r < size_; ++r) {
        const float* in = buffer(r) + at_of(rank_) * slice;
        if (r == 0) {
          std::copy_n(in, n, out);
        } else {
          for (size_t i = 0; i < n; ++i) out[i] += in[i];
        }
      }
      BM_CHECK_OK(barrier());
    }
    return {};
  }

  Status all_gather(float* values, std::span<const size_t> starts) override {
    for (size_t at = 0; at < longest(starts); at += buffer_floats) {
      copy_slice(values + starts[at_of(rank_)], buffer(rank_), at, buffer_floats, starts, rank_);
      BM_CHECK_OK(barrier());
      for (int r = 0; r < size_; ++r)
        if (r != rank_)
          std::copy_n(buffer(r), slice_length(at, buffer_floats, starts, r), values + starts[at_of(r)] + at);
      BM_CHECK_OK(barrier());
    }
    return {};
  }

  Status all_sum(std::span<double> values) override {
    const size_t most = buffer_floats / 2;
    for (size_t at = 0; at < values.size(); at += most) {
      const size_t n = std::min(most, values.size() - at);
      std::memcpy(buffer(rank_), values.data() + at, n * sizeof(double));
      BM_CHECK_OK(barrier());
      for (size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int r = 0; r < size_; ++r) sum += reinterpret_cast<const double*>(buffer(r))[i];
        values[at + i] = sum;
      }
      BM_CHECK_OK(barrier());
    }
    return {};
  }

  void end_all(const std::string&) override { control_->dead.store(rank_); }

 private:
  static size_t at_of(int rank) { return static_cast<size_t>(rank); }
  float* buffer(int rank) const { return buffers_ + at_of(rank) * buffer_floats; }
  size_t longest(std::span<const size_t> starts) const {
    size_t most = 0;
    for (size_t r = 0; r + 1 < starts.size(); ++r) most = std::max(most, starts[r + 1] - starts[r]);
    return most;
  }
  static size_t slice_length(size_t at, size_t slice, std::span<const size_t> starts, int rank) {
    const size_t length = starts[at_of(rank) + 1] - starts[at_of(rank)];
    return at >= length ? 0 : std::min(slice, length - at);
  }
  static void copy_slice(const float* piece, float* to, size_t at, size_t slice,
                         std::span<const size_t> starts, int rank) {
    std::copy_n(piece + at, slice_length(at, slice, starts, rank), to);
  }

  Control* control_;
  float* buffers_;
};

std::string death(int rank, int status) {
  return "rank " + std::to_string(rank) +
         (WIFSIGNALED(status) ? " was killed by signal " + std::to_string(WTERMSIG(status))
                              : " ended too early");
}

// Waits for all; after the first that ends badly the others have two seconds.
Result<int> wait_for(std::vector<pid_t>& children, Control* control) {
  int first_code = 0, killed_rank = -1, killed_status = 0;
  auto deadline = std::chrono::steady_clock::time_point::max();
  bool forwarded = false;
  for (size_t left = children.size(); left > 0;) {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, WNOHANG);
    const auto at = std::find(children.begin(), children.end(), ended);
    if (ended > 0 && at != children.end()) {
      *at = -1;
      --left;
      const int rank = static_cast<int>(at - children.begin());
      const int code = control->codes[rank].load();
      if (code == unfinished && killed_rank < 0 && first_code == 0)
        killed_rank = rank, killed_status = status;
      if (code != unfinished && code != 0 && first_code == 0) first_code = code;
      if (code != 0 && code != interrupted_code) {  // interrupted: all ranks stop together
        int none = -1;
        control->dead.compare_exchange_strong(none, rank);
        deadline = std::min(deadline, std::chrono::steady_clock::now() + std::chrono::seconds(2));
      }
      continue;
    }
    if (stop_requested() && !forwarded) {
      forwarded = true;
      for (pid_t child : children)
        if (child > 0) kill(child, SIGTERM);
    }
    if (std::chrono::steady_clock::now() > deadline)
      for (pid_t child : children)
        if (child > 0) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (killed_rank >= 0)
    return failed(death(killed_rank, killed_status), "The run can be started again; it goes on");
  return first_code;
}

}  // namespace

Result<int> run_local_ranks(int ranks, const std::function<int(Communicator&)>& work) {
  if (ranks < 1 || ranks > most_ranks)
    return bad_input(std::to_string(ranks) + " ranks on one machine are not supported", "1 to 256 are");
  const size_t control_bytes = 4096;
  static_assert(sizeof(Control) <= 4096);
  const size_t bytes = control_bytes + static_cast<size_t>(ranks) * buffer_floats * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return failed("no shared memory for " + std::to_string(ranks) + " ranks");
  auto* control = new (memory) Control;
  for (auto& code : control->codes) code.store(unfinished);
  auto* buffers = reinterpret_cast<float*>(static_cast<std::byte*>(memory) + control_bytes);
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      Local communicator(control, buffers, rank, ranks);
      // A forked rank has no caller to return to, and the parent's clean-up is not its own: it leaves its
      // code behind and ends itself.
      const int code = work(communicator);
      std::fflush(nullptr);
      control->codes[rank].store(code);
      for (;;) kill(getpid(), SIGKILL);
    }
    if (child < 0) {
      control->dead.store(rank);
      break;
    }
    children.push_back(child);
  }
  const bool started = static_cast<int>(children.size()) == ranks;
  auto code = wait_for(children, control);
  munmap(memory, bytes);
  if (!started) return failed("rank " + std::to_string(children.size()) + " could not be started");
  return code;
}

}  // namespace bm
