// One pool of worker threads for the process. Work is cut into tasks by the caller at fixed places,
// so results never depend on how many threads there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace bm {

// Number of threads parallel_for uses (the caller is one of them). 0 = one per physical core of the
// process' affinity and cgroup quota, the default.
void set_thread_count(int threads);
int thread_count();
// What 0 stands for here.
int default_thread_count();

namespace detail {
void parallel_run(size_t tasks, void (*call)(void*, size_t), void* function);
}

// Runs function(i) for i in [0, tasks), in any order, on all threads; returns when all are done.
// Nested calls run in the calling thread. function must not throw.
template <class F>
void parallel_for(size_t tasks, F&& function) {
  using Function = std::remove_reference_t<F>;
  detail::parallel_run(
      tasks, [](void* f, size_t i) { (*static_cast<Function*>(f))(i); },
      const_cast<void*>(static_cast<const void*>(std::addressof(function))));
}

// function(begin, end) over [0, count) in chunks of `chunk` items, cut at multiples of chunk.
template <class F>
void parallel_chunks(size_t count, size_t chunk, F&& function) {
  size_t tasks = chunk ? (count + chunk - 1) / chunk : 0;
  parallel_for(tasks, [&](size_t task) {
    size_t begin = task * chunk;
    size_t end = begin + chunk < count ? begin + chunk : count;
    function(begin, end);
  });
}

// Index of the calling thread in the pool, 0 for the caller of parallel_for; < thread_count().
int thread_index();

}  // namespace bm
