// Includes the file that CAFFE_KERNELS names once for each instruction set, in a namespace of its own, with kWidest
// the floats in its widest register, and kRows the rows of a product of three such registers' columns that its
// registers hold; vectors.inl comes before it. To be included in namespace caffe; all headers that the file needs have
// to be there before.

#ifdef __GNUC__
#pragma GCC push_options
// Without no-math-errno a root cannot be taken of several numbers at once; without no-trapping-math `x > 0 ? y :
// y * slope` becomes a branch for each number where there are no masked instructions, since the product might trap.
// The kernels are written in vectors: O3 takes longer to compile and makes them no faster.
#pragma GCC optimize("O2", "tree-vectorize", "vect-cost-model=dynamic", "no-math-errno", "no-trapping-math")
#endif

namespace baseline {
#ifdef __aarch64__
const int kWidest = 4, kRows = 8;
#else
const int kWidest = 4, kRows = 4;
#endif
#include "caffe/kernels/vectors.inl"
#include CAFFE_KERNELS
}  // namespace baseline

#ifdef CAFFE_X86_LEVELS
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
const int kWidest = 8, kRows = 4;
#include "caffe/kernels/vectors.inl"
#include CAFFE_KERNELS
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace v4 {
const int kWidest = 16, kRows = 8;
#include "caffe/kernels/vectors.inl"
#include CAFFE_KERNELS
}  // namespace v4
#pragma GCC pop_options
#endif

#ifdef __GNUC__
#pragma GCC pop_options
#endif
#undef CAFFE_KERNELS
