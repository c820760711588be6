#include "core/base/parallel.h"

#if SOTTO_THREADS
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace sotto {

#if SOTTO_THREADS

namespace {

// Spins this often before sleeping: long enough to bridge the gap between two kernels of a forward
// pass (a few microseconds), short enough that an idle page stays cool.
constexpr int kSpins = 20000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> epoch{0};  // grows by one for each loop
  std::atomic<int> busy{0};        // workers that have not yet finished this loop
  std::atomic<int64_t> next{0};    // first item that nobody has taken
  std::atomic<bool> stop{false};
  int64_t count = 0, chunk = 0;
  const FunctionRef<void(int64_t, int64_t)>* body = nullptr;

  void Drain() {
    for (;;) {
      const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= count) return;
      (*body)(begin, std::min(begin + chunk, count));
    }
  }

  void Work() {
    uint64_t seen = 0;
    for (;;) {
      int spins = 0;
      while (epoch.load(std::memory_order_acquire) == seen && spins++ < kSpins) Pause();
      if (epoch.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return epoch.load(std::memory_order_acquire) != seen; });
      }
      seen = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      Drain();
      busy.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(std::clamp(threads, 1, 64)) {
  if (threads_ == 1) return;
  state_ = std::make_unique<State>();
  for (int i = 1; i < threads_; ++i) {
    state_->workers.emplace_back([s = state_.get()] { s->Work(); });
  }
}

ThreadPool::~ThreadPool() {
  if (!state_) return;
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
    state_->epoch.fetch_add(1, std::memory_order_release);
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

void ThreadPool::For(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (!state_) return body(0, count);
  State& s = *state_;
  // Four chunks a thread even out uneven rows without paying much for the shared counter.
  s.chunk =
      std::max<int64_t>(std::max<int64_t>(grain, 1), (count + 4 * threads_ - 1) / (4 * threads_));
  s.count = count;
  s.body = &body;
  s.next.store(0, std::memory_order_relaxed);
  s.busy.store(threads_ - 1, std::memory_order_relaxed);
  {
    std::lock_guard lock(s.mutex);
    s.epoch.fetch_add(1, std::memory_order_release);
  }
  s.wake.notify_all();
  s.Drain();
  for (int spins = 0; s.busy.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

#else

struct ThreadPool::State {};
ThreadPool::ThreadPool(int) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::For(int64_t count, int64_t, FunctionRef<void(int64_t, int64_t)> body) {
  body(0, count);
}

#endif

}  // namespace sotto
