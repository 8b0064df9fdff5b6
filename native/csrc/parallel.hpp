// Parallel loops.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace spatialbeam {

// Calls work(item, worker) for all items on up to `threads` threads; items start in ascending order, and `worker` is
// the index of the thread. The work must not throw.
template <typename Work>
void parallel_for(int items, int threads, const Work& work) {
  threads = std::min(threads, items);
  std::atomic<int> next{0};
  const auto run = [&](int worker) {
    for (int item = next++; item < items; item = next++) work(item, worker);
  };
  std::vector<std::thread> others;
  try {
    for (int worker = 1; worker < threads; ++worker) others.emplace_back(run, worker);
  } catch (const std::system_error&) {
    // No more threads available: the existing ones do all the work.
  }
  run(0);
  for (auto& other : others) other.join();
}

// A critical section that threads enter in the order of their items, so that sums have one order.
class OrderedSection {
 public:
  template <typename Work>
  void run(int item, const Work& work) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return next_ == item; });
    work();
    ++next_;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int next_ = 0;
};

}  // namespace spatialbeam
