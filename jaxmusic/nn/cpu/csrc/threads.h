// Tasks on the threads of XLA's pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace jaxmusic {

// Threads that tasks may run on: XLA's pool may have none, and the caller works too.
inline int64_t threads_of(const xla::ffi::ThreadPool& pool) {
  return std::max<int64_t>(1, pool.num_threads());
}

// Calls task(0) ... task(count - 1) on the pool's threads and this one. Whoever is free takes the
// next; this thread waits only for tasks that another one is at work on, so that a pool whose
// threads all wait like this still gets on. What a task throws is thrown here, once all have ended:
// thrown in a thread of the pool it would end the process.
template <typename Task>
void run_tasks(xla::ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    int64_t done = 0;
    std::exception_ptr error;
  };
  if (count < 1) return;
  auto shared = std::make_shared<Shared>();
  // A helper that comes too late finds no task and so never touches `task`, which is gone then.
  auto work = [shared, count, &task] {
    for (int64_t at; (at = shared->next++) < count;) {
      std::exception_ptr error;
      try {
        task(at);
      } catch (...) {
        error = std::current_exception();
      }
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (error != nullptr) shared->error = error;
      if (++shared->done == count) shared->all_done.notify_all();
    }
  };
  const int64_t helpers = std::min<int64_t>(count, threads_of(pool)) - 1;
  for (int64_t helper = 0; helper < helpers; helper++) pool.Schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
  if (shared->error != nullptr) std::rethrow_exception(shared->error);
}

}  // namespace jaxmusic
