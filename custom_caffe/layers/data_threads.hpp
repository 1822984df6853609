#ifndef CAFFE_DATA_THREADS_HPP_
#define CAFFE_DATA_THREADS_HPP_

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "caffe/common.hpp"

namespace caffe {

// Number of threads that make a batch: as many as the machine has, up to 8, or as the environment variable
// CAFFE_IMAGE_THREADS says.
inline int DataThreads() {
  const char* const kName = "CAFFE_IMAGE_THREADS";
  const char* text = std::getenv(kName);
  if (text == NULL || *text == 0) {
    return std::min(std::max(std::thread::hardware_concurrency(), 1u), 8u);
  }
  char* end;
  const int64_t count = std::strtol(text, &end, 10);
  CHECK(*end == 0 && count >= 1 && count <= 1024) << kName << " is '" << text << "'; expected a number of "
      "threads from 1 to 1024";
  return count;
}

// Calls make(n, &worker) for each n below `count`, on one thread for each of `workers`. The threads end with the
// work: starting one takes microseconds, a batch milliseconds, and threads that have ended need no care when a
// process forks or a net is destroyed. ForEach's threads (threads/for_each.hpp) are not used, as they serve one
// caller at a time, which is the solver. The first error that a call throws is thrown when all threads have ended.
template <typename Worker, typename Make>
void ShareOut(size_t count, std::vector<Worker>* workers, const Make& make) {
  std::atomic<size_t> next(0);
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&](Worker* worker) {
    try {
      for (size_t n = next++; n < count; n = next++) { make(n, worker); }
    } catch (...) {
      next = count;
      std::lock_guard<std::mutex> lock(mutex);
      if (!error) { error = std::current_exception(); }
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(workers->size());
  try {
    for (size_t i = 1; i < workers->size(); ++i) { threads.emplace_back(work, &(*workers)[i]); }
  } catch (const std::system_error&) {
    // No more threads can be started: those that run do all the work.
  }
  work(&(*workers)[0]);
  for (std::thread& thread : threads) { thread.join(); }
  if (error) { std::rethrow_exception(error); }
}

}  // namespace caffe

#endif  // CAFFE_DATA_THREADS_HPP_
