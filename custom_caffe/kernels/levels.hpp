#ifndef CAFFE_KERNELS_LEVELS_HPP_
#define CAFFE_KERNELS_LEVELS_HPP_

#include "caffe/kernels/isa.hpp"

// Levels of the x86-64 instruction set, not names of processors: a name would match that very make only.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define CAFFE_X86_LEVELS 1
#endif

// Of `name`, which kernels_by_level.inl defined in a namespace for each level, the one that runs.
#ifdef CAFFE_X86_LEVELS
#define CAFFE_OF_LEVEL(name) \
  (isa() == Isa::kV4 ? v4::name : isa() == Isa::kV3 ? v3::name : baseline::name)
#else
#define CAFFE_OF_LEVEL(name) baseline::name
#endif

#endif  // CAFFE_KERNELS_LEVELS_HPP_
