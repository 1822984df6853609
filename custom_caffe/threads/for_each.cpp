#include "caffe/threads/for_each.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace caffe {

namespace {

// How often a thread looks for work before it sleeps: some tens of microseconds.
const int kLooks = 2000;

class FlushDenormals {
 public:
#ifdef __SSE__
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  const unsigned before_;
#endif
};

void Pause() {
#ifdef __SSE__
  _mm_pause();
#endif
}

// Threads that work through one loop after the other. Never destroyed: they wait for work when the program ends.
class Team {
 public:
  void Run(int count, int threads, const std::function<void(int, int)>& work) {
    Grow(threads - 1);
    work_ = &work;
    error_ = nullptr;
    count_ = count;
    next_ = 0;
    wanted_ = threads - 1;
    working_ = size_;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ++round_;
    }
    begin_.notify_all();
    Work(0);
    for (int look = 0; working_ != 0; ++look) {
      if (look < kLooks) {
        Pause();
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      end_.wait(lock, [this] { return working_ == 0; });
    }
    if (error_) { std::rethrow_exception(std::exchange(error_, nullptr)); }
  }

  std::mutex busy;

 private:
  void Grow(int size) {
    for (; size_ < size; ++size_) { std::thread(&Team::Member, this, size_ + 1, round_.load()).detach(); }
  }

  void Work(int thread) {
    FlushDenormals flush;
    try {
      for (int i = next_++; i < count_; i = next_++) { (*work_)(i, thread); }
    } catch (...) {
      // The others end too, and the caller, who waits for all of them, gets the first error.
      next_ = count_;
      std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) { error_ = std::current_exception(); }
    }
  }

  void Member(int thread, unsigned round) {
    while (true) {
      for (int look = 0; round_ == round && look < kLooks; ++look) { Pause(); }
      if (round_ == round) {
        std::unique_lock<std::mutex> lock(mutex_);
        begin_.wait(lock, [this, round] { return round_ != round; });
      }
      ++round;
      if (thread <= wanted_) { Work(thread); }
      if (--working_ == 0) {
        { std::lock_guard<std::mutex> lock(mutex_); }
        end_.notify_one();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable begin_, end_;
  std::atomic<unsigned> round_{0};
  std::atomic<int> next_{0}, working_{0};
  int size_ = 0, wanted_ = 0, count_ = 0;
  const std::function<void(int, int)>* work_ = nullptr;
  std::exception_ptr error_;
};

std::atomic<Team*> team(nullptr);

// A child process has none of its parent's threads.
void Forget() { team = nullptr; }

Team* TheTeam() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, Forget); });
  Team* found = team;
  if (found == nullptr) {
    Team* made = new Team;
    if (team.compare_exchange_strong(found, made)) {
      return made;
    }
    delete made;
  }
  return found;
}

thread_local bool inside = false;

class Inside {
 public:
  Inside() { inside = true; }
  ~Inside() { inside = false; }
};

}  // namespace

int thread_count() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return std::max(1u, std::thread::hardware_concurrency());
#endif
}

void ForEach(int count, const std::function<void(int, int)>& work) {
  const int threads = std::min(count, thread_count());
  if (threads > 1 && !inside) {
    Team* all = TheTeam();
    std::unique_lock<std::mutex> mine(all->busy, std::try_to_lock);
    if (mine.owns_lock()) {
      Inside here;
      all->Run(count, threads, work);
      return;
    }
  }
  FlushDenormals flush;
  for (int i = 0; i < count; ++i) { work(i, 0); }
}

}  // namespace caffe
