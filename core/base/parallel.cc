#include "core/base/parallel.h"

#if SOTTO_THREADS
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace sotto {

#if SOTTO_THREADS

namespace {

// Whoever waits spins for so long before it sleeps: enough to bridge the gap between two loops of a
// forward pass, little enough that an idle page stays cool, and that the page itself gets the
// processor between two tokens, where there are as many threads as cores.
constexpr std::chrono::microseconds kSpin{40};

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `ready` or until kSpin is over; whether it was ready.
template <class Ready>
bool SpinUntil(const Ready& ready) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point end{};
  for (;;) {
    for (int i = 0; i < 256; ++i) {
      if (ready()) return true;
      Pause();
    }
    const Clock::time_point now = Clock::now();
    if (end == Clock::time_point{}) end = now + kSpin;
    if (now >= end) return false;
  }
}

}  // namespace

// The caller opens a loop, works in it like everyone, closes it when no item is left, and waits for
// the workers that are still in it. A worker that comes too late - it slept, it has not even
// started, or something else has its processor - is not waited for.
struct ThreadPool::State {
  // The loop's number in the upper half; whether it is open; how many workers are in it.
  static constexpr uint64_t kNumber = uint64_t{1} << 32, kOpen = uint64_t{1} << 16,
                            kInside = kOpen - 1;

  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable opened, emptied;
  std::atomic<bool> stop{false};
  // On lines of their own: everyone reads the first while others write the second.
  alignas(64) std::atomic<uint64_t> loop{0};
  std::atomic<int> sleepers{0};  // workers
  std::atomic<bool> caller_sleeps{false};
  alignas(64) std::atomic<int64_t> next{0};  // first item that nobody has taken
  // What the open loop does.
  alignas(64) int64_t count = 0;
  int64_t chunk = 0;
  const FunctionRef<void(int64_t, int64_t)>* body = nullptr;

  void Drain() {
    for (;;) {
      const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= count) return;
      (*body)(begin, std::min(begin + chunk, count));
    }
  }

  void Work() {
    uint64_t last = 0;  // the loop that this worker was in
    const auto ready = [&] {
      const uint64_t now = loop.load();
      return ((now & kOpen) != 0 && now / kNumber != last) || stop.load(std::memory_order_relaxed);
    };
    for (;;) {
      if (!SpinUntil(ready)) {
        std::unique_lock lock(mutex);
        sleepers.fetch_add(1);
        opened.wait(lock, ready);
        sleepers.fetch_sub(1);
      }
      if (stop.load(std::memory_order_relaxed)) return;
      uint64_t now = loop.load();
      if ((now & kOpen) == 0 || !loop.compare_exchange_strong(now, now + 1)) continue;
      Drain();
      last = now / kNumber;
      if (((loop.fetch_sub(1) - 1) & (kOpen | kInside)) == 0 && caller_sleeps.load()) {
        {
          std::lock_guard lock(mutex);
        }
        emptied.notify_one();
      }
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
  }
  state_->opened.notify_all();
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
  s.loop.store((s.loop.load(std::memory_order_relaxed) / State::kNumber + 1) * State::kNumber +
               State::kOpen);
  // Either this sees the sleeper, or the sleeper has seen the loop: both orders are total.
  if (s.sleepers.load() > 0) {
    {
      std::lock_guard lock(s.mutex);
    }
    s.opened.notify_all();
  }
  s.Drain();
  s.loop.fetch_and(~State::kOpen);
  const auto empty = [&] { return (s.loop.load() & State::kInside) == 0; };
  if (SpinUntil(empty)) return;
  std::unique_lock lock(s.mutex);
  s.caller_sleeps.store(true);
  s.emptied.wait(lock, empty);
  s.caller_sleeps.store(false);
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
