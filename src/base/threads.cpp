#include "base/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/cgroup.h"

namespace bm {
namespace {

thread_local int t_index = 0;
thread_local bool t_inside = false;  // within a task: nested calls run here

// Physical cores of the affinity mask: hardware threads of one core count once.
int affinity_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return static_cast<int>(std::thread::hardware_concurrency());
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    std::string base = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string core, package;
    std::ifstream(base + "core_id") >> core;
    std::ifstream(base + "physical_package_id") >> package;
    cores.insert(core.empty() ? "cpu" + std::to_string(cpu) : package + ":" + core);
  }
  return static_cast<int>(cores.size());
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// About 50 µs of waiting without a system call: kernels come in quick succession. Longer waits sleep, and
// nobody yields: on a busy machine a yielded time slice comes back milliseconds later.
constexpr int kSpins = 2000;

// A job is open while tasks remain to be handed out; workers that wake in time join it, and the caller
// waits only for those that did. State: bits 0-9 joined workers, bit 10 open, bits 11-31 generation.
class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }
  ~Pool() {
    stop_.store(true, std::memory_order_relaxed);
    state_.store(next_generation() | kOpen, std::memory_order_release);
    state_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  int threads() const { return threads_; }

  void run(size_t tasks, void (*call)(void*, size_t), void* function) {
    call_ = call;
    function_ = function;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    state_.store(next_generation() | kOpen, std::memory_order_release);
    state_.notify_all();
    take();
    uint32_t state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    for (int spin = 0; (state & kJoined) != 0; state = state_.load(std::memory_order_acquire)) {
      if (spin < kSpins) {
        ++spin;
        relax();
      } else {
        state_.wait(state, std::memory_order_acquire);
      }
    }
  }

  std::mutex& entry() { return entry_; }

 private:
  static constexpr uint32_t kJoined = (1u << 10) - 1, kOpen = 1u << 10, kGeneration = 1u << 11;

  // Only called while no worker is joined and the job is closed.
  uint32_t next_generation() const {
    return (state_.load(std::memory_order_relaxed) & ~(kGeneration - 1)) + kGeneration;
  }

  void take() {
    t_inside = true;
    for (size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < tasks_;
         i = next_.fetch_add(1, std::memory_order_relaxed))
      call_(function_, i);
    t_inside = false;
  }

  void work(int index) {
    t_index = index;
    uint32_t seen = 0;  // generation of the last job joined
    for (;;) {
      uint32_t state = state_.load(std::memory_order_acquire);
      for (int spin = 0; !joinable(state, seen); state = state_.load(std::memory_order_acquire)) {
        if (spin < kSpins) {
          ++spin;
          relax();
        } else {
          state_.wait(state, std::memory_order_acquire);
        }
      }
      if (stop_.load(std::memory_order_relaxed)) return;
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      seen = state & ~(kGeneration - 1);
      take();
      state_.fetch_sub(1, std::memory_order_acq_rel);
      state_.notify_all();
    }
  }
  static bool joinable(uint32_t state, uint32_t seen) {
    return (state & kOpen) != 0 && (state & ~(kGeneration - 1)) != seen;
  }

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex entry_;  // one parallel_for at a time; others run serially
  std::atomic<uint32_t> state_{0};
  std::atomic<bool> stop_{false};
  void (*call_)(void*, size_t) = nullptr;
  void* function_ = nullptr;
  size_t tasks_ = 0;
  std::atomic<size_t> next_{0};
};

std::mutex g_mutex;
std::unique_ptr<Pool> g_pool;
int g_wanted = 0;

Pool& pool() {
  std::lock_guard lock(g_mutex);
  if (!g_pool) g_pool = std::make_unique<Pool>(g_wanted > 0 ? g_wanted : default_thread_count());
  return *g_pool;
}

}  // namespace

int default_thread_count() {
  static const int count = [] {
    int cores = std::max(1, affinity_cores());
    const double quota = cgroup_cpus();
    return quota > 0 ? std::clamp(static_cast<int>(quota), 1, cores) : cores;
  }();
  return count;
}

void set_thread_count(int threads) {
  std::lock_guard lock(g_mutex);
  g_wanted = threads;
  int count = threads > 0 ? threads : default_thread_count();
  if (g_pool && g_pool->threads() != count) g_pool.reset();
}

int thread_count() { return pool().threads(); }
int thread_index() { return t_index; }

void detail::parallel_run(size_t tasks, void (*call)(void*, size_t), void* function) {
  if (tasks == 0) return;
  Pool& workers = pool();
  std::unique_lock entry(workers.entry(), std::defer_lock);
  if (tasks == 1 || t_inside || workers.threads() == 1 || !entry.try_lock()) {
    for (size_t i = 0; i < tasks; ++i) call(function, i);
    return;
  }
  workers.run(tasks, call, function);
}

}  // namespace bm
