// Memory for the length of a call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace jaxmusic {

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

// Memory for one call, kept for the next: what is asked for is the same at every step. Blocks that
// are kept unused take at most twice what was ever in use at once; beyond that, those that were
// unused for longest are freed.
class Scratch {
 public:
  // Throws std::bad_alloc.
  explicit Scratch(int64_t floats) : block_(take(std::max<int64_t>(floats, 1) * sizeof(float))) {
#if defined(JAXMUSIC_POISON)  // for tests: what is read before it is written is not a number
    std::memset(block_.start, 0xff, block_.bytes);
#endif
  }
  ~Scratch() {
    Pool& all = pool();
    std::lock_guard<std::mutex> lock(all.mutex);
    all.bytes_in_use -= block_.bytes;
    all.bytes_unused += block_.bytes;
    all.unused.push_back(block_);
    while (all.bytes_unused > 2 * all.most_in_use) {
      const Block oldest = all.unused.front();
      all.unused.pop_front();
      all.bytes_unused -= oldest.bytes;
      std::free(oldest.start);
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* floats() const { return static_cast<float*>(block_.start); }

 private:
  struct Block {
    void* start;
    size_t bytes;
  };
  struct Pool {
    std::mutex mutex;
    std::list<Block> unused;  // the one unused for longest first
    size_t bytes_unused = 0, bytes_in_use = 0, most_in_use = 0;

    void lend(size_t bytes) {
      bytes_in_use += bytes;
      most_in_use = std::max(most_in_use, bytes_in_use);
    }
  };

  static Block take(size_t bytes) {
    Pool& all = pool();
    {
      std::lock_guard<std::mutex> lock(all.mutex);
      auto best = all.unused.end();
      for (auto block = all.unused.begin(); block != all.unused.end(); ++block)
        if (block->bytes >= bytes && block->bytes <= 2 * bytes &&
            (best == all.unused.end() || block->bytes < best->bytes))
          best = block;
      if (best != all.unused.end()) {
        const Block found = *best;
        all.unused.erase(best);
        all.bytes_unused -= found.bytes;
        all.lend(found.bytes);
        return found;
      }
    }
    const size_t unit = bytes >= (2u << 20) ? 2u << 20 : 64;
    const size_t whole = (bytes + unit - 1) / unit * unit;
#if defined(JAXMUSIC_MOST_SCRATCH)  // for tests: a larger block can't be had
    void* start = whole > JAXMUSIC_MOST_SCRATCH ? nullptr : std::aligned_alloc(unit, whole);
#else
    void* start = std::aligned_alloc(unit, whole);
#endif
    if (start == nullptr) throw std::bad_alloc();
    use_large_pages(start, whole);
    std::lock_guard<std::mutex> lock(all.mutex);
    all.lend(whole);
    return {start, whole};
  }
  static Pool& pool() {
    static auto* it = new Pool;  // never destroyed: threads may outlive main
    return *it;
  }
  Block block_;
};

}  // namespace jaxmusic
