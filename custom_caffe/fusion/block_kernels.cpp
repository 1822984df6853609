#include "caffe/fusion/block_kernels.hpp"

// Levels of the x86-64 instruction set, not names of processors: a name would match that very make only.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define CAFFE_X86_LEVELS 1
#endif

#ifdef __GNUC__
// Or a root cannot be taken of several numbers at once.
#pragma GCC optimize("no-math-errno")
#endif

namespace caffe {

namespace baseline {
const int kWidest = 4, kRows = 4;
#include "caffe/fusion/block_kernels.inl"
}  // namespace baseline

#ifdef CAFFE_X86_LEVELS
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
const int kWidest = 8, kRows = 4;
#include "caffe/fusion/block_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace v4 {
const int kWidest = 16, kRows = 8;
#include "caffe/fusion/block_kernels.inl"
}  // namespace v4
#pragma GCC pop_options
#endif

const BlockKernels& block_kernels() {
#ifdef CAFFE_X86_LEVELS
  static const BlockKernels& best = __builtin_cpu_supports("x86-64-v4")   ? v4::kKernels
                                    : __builtin_cpu_supports("x86-64-v3") ? v3::kKernels
                                                                          : baseline::kKernels;
  return best;
#else
  return baseline::kKernels;
#endif
}

}  // namespace caffe
