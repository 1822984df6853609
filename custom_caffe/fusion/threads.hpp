#ifndef CAFFE_FUSION_THREADS_HPP_
#define CAFFE_FUSION_THREADS_HPP_

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace caffe {

/// While it lives, this thread computes with denormal numbers as zeros: they cost a hundred times as much.
class FlushDenormals {
 public:
#ifdef __SSE__
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  const unsigned before_;
#endif
};

/// The most threads that ForEach uses.
inline int thread_count() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Calls work(i, thread) for i from 0 to count - 1, on as many threads as OpenMP is set to (OMP_NUM_THREADS).
template <typename F>
void ForEach(int count, F work) {
#ifdef _OPENMP
#pragma omp parallel if (count > 1)
  {
    FlushDenormals flush;
#pragma omp for schedule(static)
    for (int i = 0; i < count; ++i) { work(i, omp_get_thread_num()); }
  }
#else
  FlushDenormals flush;
  for (int i = 0; i < count; ++i) { work(i, 0); }
#endif
}

}  // namespace caffe

#endif  // CAFFE_FUSION_THREADS_HPP_
