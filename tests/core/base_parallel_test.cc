#include "core/base/parallel.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace sotto {
namespace {

// How often each item of [0, count) was visited.
std::vector<int> Visits(ThreadPool* pool, int64_t count, int64_t grain) {
  std::vector<int> visits(static_cast<size_t>(count));
  ParallelFor(pool, count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
  });
  return visits;
}

TEST(ParallelFor, VisitsEveryItemOnceHoweverItIsSplit) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t count : {1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {0, 1, 3, 64, 5000}) {
        EXPECT_EQ(Visits(&pool, count, grain), std::vector<int>(static_cast<size_t>(count), 1))
            << threads << " threads, " << count << " items, grain " << grain;
      }
    }
  }
}

TEST(ParallelFor, RunsInTheCallerWithoutAPool) {
  EXPECT_EQ(Visits(nullptr, 10, 1), std::vector<int>(10, 1));
}

TEST(ParallelFor, NothingToDoCallsNothing) {
  ThreadPool pool(2);
  int calls = 0;
  ParallelFor(&pool, 0, 1, [&](int64_t, int64_t) { ++calls; });
  ParallelFor(&pool, -5, 1, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 0);
}

TEST(ParallelFor, ChunksAreDisjointAndNoSmallerThanTheGrain) {
  ThreadPool pool(4);
  std::vector<int64_t> length_from(1000);
  ParallelFor(&pool, 1000, 90, [&](int64_t begin, int64_t end) {
    length_from[static_cast<size_t>(begin)] = end - begin;
  });
  int64_t next = 0;
  while (next < 1000) {
    const int64_t length = length_from[static_cast<size_t>(next)];
    ASSERT_GT(length, 0) << next;
    EXPECT_TRUE(length >= 90 || next + length == 1000) << next;
    next += length;
  }
  EXPECT_EQ(next, 1000);
}

// A pool that loses a wake-up hangs, and one that returns early leaves a sum short.
TEST(ParallelFor, ManyShortLoopsInARowAllComplete) {
  ThreadPool pool(3);
  for (int round = 0; round < 1000; ++round) {
    const int64_t count = 1 + round % 40;
    std::vector<int64_t> out(static_cast<size_t>(count));
    ParallelFor(&pool, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[static_cast<size_t>(i)] = i + round;
    });
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], i + round);
  }
}

TEST(ParallelFor, CompletesWithManyMoreThreadsThanProcessors) {
  ThreadPool pool(48);
  for (int round = 0; round < 200; ++round) {
    EXPECT_EQ(Visits(&pool, 100, 1), std::vector<int>(100, 1)) << round;
  }
}

// Wakes that come while workers fall asleep, or while the caller does, are the ones that get lost.
TEST(ParallelFor, CompletesAfterPausesOfAnyLength) {
  ThreadPool pool(3);
  for (int round = 0; round < 60; ++round) {
    const auto pause = std::chrono::microseconds(10 * round);
    std::this_thread::sleep_for(pause);
    std::vector<int> visits(24);
    ParallelFor(&pool, 24, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      if (begin == 0) std::this_thread::sleep_for(pause);
    });
    EXPECT_EQ(visits, std::vector<int>(24, 1)) << round;
  }
}

#ifndef __EMSCRIPTEN__  // its clock() is the time of day
TEST(ThreadPool, UsesNoProcessorWhenThereIsNothingToDo) {
  ThreadPool pool(4);
  Visits(&pool, 1000, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();  // of the whole process
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.05);
}
#endif

TEST(ThreadPool, CountsAreClampedToWhatMakesSense) {
  EXPECT_EQ(ThreadPool(0).threads(), 1);
  EXPECT_EQ(ThreadPool(-3).threads(), 1);
}

}  // namespace
}  // namespace sotto
