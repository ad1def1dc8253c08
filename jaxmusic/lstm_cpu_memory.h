// Threads and memory for lstm_cpu.cc.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace jaxmusic {

// Calls task(0) ... task(count - 1) on the pool's threads and this one. Whoever is free takes the
// next; this thread waits only for tasks that another one is at work on, so that a pool whose
// threads all wait like this still gets on.
template <typename Task>
void run_tasks(xla::ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    int64_t done = 0;
  };
  auto shared = std::make_shared<Shared>();
  // A helper that comes too late finds no task and so never touches `task`, which is gone then.
  auto work = [shared, count, &task] {
    for (int64_t at; (at = shared->next++) < count;) {
      task(at);
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (++shared->done == count) shared->all_done.notify_all();
    }
  };
  const int64_t helpers = std::min<int64_t>(count, std::max<int64_t>(1, pool.num_threads())) - 1;
  for (int64_t helper = 0; helper < helpers; helper++) pool.Schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
}

// Asks the system to back memory that is about to be written first with 2 MiB pages. XLA's
// buffers are new at each step: in 4 KiB pages, faulting them in takes a fifth of a step.
inline void use_large_pages(void* start, size_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t kPage = 4096;
  const uintptr_t from = (reinterpret_cast<uintptr_t>(start) + kPage - 1) / kPage * kPage;
  const uintptr_t to = (reinterpret_cast<uintptr_t>(start) + bytes) / kPage * kPage;
  if (to >= from + (2u << 20)) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#endif
}

// Memory for one call, kept for the next: what is asked for is the same at every step.
class Scratch {
 public:
  explicit Scratch(int64_t floats) : block_(take(std::max<int64_t>(floats, 1) * sizeof(float))) {
#if defined(JAXMUSIC_POISON)  // for tests: what is read before it is written is not a number
    std::memset(block_.start, 0xff, block_.bytes);
#endif
  }
  ~Scratch() {
    std::lock_guard<std::mutex> lock(mutex());
    blocks().push_back(block_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* floats() const { return static_cast<float*>(block_.start); }

 private:
  struct Block {
    void* start;
    size_t bytes;
  };
  static Block take(size_t bytes) {
    {
      std::lock_guard<std::mutex> lock(mutex());
      auto& free = blocks();
      auto best = free.end();
      for (auto block = free.begin(); block != free.end(); ++block)
        if (block->bytes >= bytes && block->bytes <= 2 * bytes &&
            (best == free.end() || block->bytes < best->bytes))
          best = block;
      if (best != free.end()) {
        const Block found = *best;
        free.erase(best);
        return found;
      }
    }
    const size_t unit = bytes >= (2u << 20) ? 2u << 20 : 64;
    const size_t whole = (bytes + unit - 1) / unit * unit;
    void* start = std::aligned_alloc(unit, whole);
    if (start == nullptr) throw std::bad_alloc();
    use_large_pages(start, whole);
    return {start, whole};
  }
  static std::mutex& mutex() {
    static std::mutex it;
    return it;
  }
  static std::vector<Block>& blocks() {
    static auto* it = new std::vector<Block>;  // never destroyed: threads may outlive main
    return *it;
  }
  Block block_;
};

}  // namespace jaxmusic
