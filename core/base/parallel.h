// ParallelFor: splits a range over a pool of threads. A null pool, or a build without threads, runs
// the loop in the caller; the result must not depend on how a range is split.
#ifndef SOTTO_CORE_BASE_PARALLEL_H_
#define SOTTO_CORE_BASE_PARALLEL_H_

#include <cstdint>
#include <memory>

namespace sotto {

// A borrowed callable: no allocation, valid only during the call that it is passed to.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  FunctionRef(const F& f)  // NOLINT: implicit by intent
      : object_(&f), call_([](const void* object, Args... args) -> R {
          return (*static_cast<const F*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  const void* object_;
  R (*call_)(const void*, Args...);
};

class ThreadPool {
 public:
  // Workers in addition to the calling thread: `threads` - 1. In a build without threads, always 0.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls body(begin, end) over disjoint chunks that cover [0, count), each of at least `grain`
  // items (but for the last), on all threads, and returns when all are done. Not reentrant.
  void For(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body);

 private:
  struct State;
  int threads_ = 1;
  std::unique_ptr<State> state_;
};

inline void ParallelFor(ThreadPool* pool, int64_t count, int64_t grain,
                        FunctionRef<void(int64_t, int64_t)> body) {
  if (count <= 0) return;
  if (pool == nullptr || pool->threads() == 1 || count <= grain) {
    body(0, count);
  } else {
    pool->For(count, grain, body);
  }
}

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_PARALLEL_H_
