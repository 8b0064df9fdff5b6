// Work shared by threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace spatialbeam {

// Calls work(item, worker) for each item from 0 on, in order of their starts, on up to `threads` threads, of which each
// has its number `worker`. The work must not throw.
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
    // The system grants no more threads: those there are do all.
  }
  run(0);
  for (auto& other : others) other.join();
}

// Lets threads do a part of their items' work one after another, in the order of the items.
class Turns {
 public:
  template <typename Work>
  void take(int item, const Work& work) {
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
