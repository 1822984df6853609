#ifndef CAFFE_THREADS_SCRATCH_HPP_
#define CAFFE_THREADS_SCRATCH_HPP_

#include <cstddef>
#include <new>
#include <vector>

namespace caffe {

/// Allocates at the beginning of a cache line, which the widest registers then never straddle.
template <typename T>
struct CacheLines {
  typedef T value_type;
  CacheLines() = default;
  template <typename U>
  CacheLines(const CacheLines<U>&) {}  // NOLINT(runtime/explicit)
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, std::align_val_t(64)); }
  template <typename U>
  bool operator==(const CacheLines<U>&) const { return true; }
  template <typename U>
  bool operator!=(const CacheLines<U>&) const { return false; }
};

typedef std::vector<float, CacheLines<float> > Floats;

/// Memory of one thread, in parts that are kept for the next time.
struct Scratch {
  std::vector<Floats> parts;
  float* Get(size_t part, size_t size) {
    if (parts.size() <= part) { parts.resize(part + 1); }
    if (parts[part].size() < size) { parts[part].resize(size); }
    return parts[part].data();
  }
};

/// How many of a size hold a count, and the least multiple of a size that is not less.
inline int Parts(int count, int size) { return (count + size - 1) / size; }
inline int RoundUp(int value, int size) { return Parts(value, size) * size; }

}  // namespace caffe

#endif  // CAFFE_THREADS_SCRATCH_HPP_
