#include "base/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace bm {
namespace {

thread_local int t_index = 0;
thread_local bool t_inside = false;  // within a task: nested calls run here

// Physical cores of the affinity mask: hardware threads of one core count once.
int affinity_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return static_cast<int>(std::thread::hardware_concurrency());
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

// cgroup v2 quota in whole CPUs, 0 = none.
int cgroup_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  try {
    return std::max(1, static_cast<int>(std::stod(quota) / period));
  } catch (const std::exception&) {
    return 0;
  }
}

struct Job {
  void (*call)(void*, size_t) = nullptr;
  void* function = nullptr;
  size_t tasks = 0;
  std::atomic<size_t> next{0};
  std::atomic<int> active{0};  // workers that may still touch this job
};

// Workers spin for a short while after a job (kernels come in quick succession), then sleep.
class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  int threads() const { return threads_; }

  void run(size_t tasks, void (*call)(void*, size_t), void* function) {
    Job job;
    job.call = call;
    job.function = function;
    job.tasks = tasks;
    job.active = threads_ - 1;
    {
      std::lock_guard lock(mutex_);
      job_ = &job;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take(job);
    while (job.active.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }

  std::mutex& entry() { return entry_; }

 private:
  static void take(Job& job) {
    t_inside = true;
    for (size_t i = job.next.fetch_add(1, std::memory_order_relaxed); i < job.tasks;
         i = job.next.fetch_add(1, std::memory_order_relaxed))
      job.call(job.function, i);
    t_inside = false;
  }

  void work(int index) {
    t_index = index;
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < 2000 && generation_.load(std::memory_order_acquire) == seen; ++spin)
        std::this_thread::yield();
      Job* job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
        seen = generation_.load(std::memory_order_relaxed);
        if (stop_) return;
        job = job_;
      }
      take(*job);
      job->active.fetch_sub(1, std::memory_order_release);
    }
  }

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;  // guards job_ and stop_
  std::mutex entry_;  // one parallel_for at a time; others run serially
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  Job* job_ = nullptr;
  bool stop_ = false;
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
    int quota = cgroup_cores();
    return quota ? std::min(cores, quota) : cores;
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
