#include "caffe/fusion/seen_blobs.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "caffe/threads/for_each.hpp"

namespace caffe {

namespace {

const size_t kPiece = 1 << 14;  // floats that a thread compares at a time
const size_t kAlone = 1 << 16;  // or fewer in all: less work than to wake another thread

}  // namespace

bool SeenBlobs::Same(const std::vector<const Blob<float>*>& blobs) {
  struct Piece {
    const float* values;
    size_t count, at;
  };
  std::vector<Piece> pieces;
  size_t total = 0;
  for (const Blob<float>* blob : blobs) {
    const size_t count = blob->count();
    for (size_t begin = 0; begin < count; begin += kPiece) {
      pieces.push_back(Piece{blob->cpu_data() + begin, std::min(kPiece, count - begin), total + begin});
    }
    total += count;
  }
  const bool first = values_.size() != total;
  values_.resize(total);
  std::atomic<bool> same(!first);
  const auto compare = [&](int i, int) {
    const Piece& piece = pieces[i];
    // As bytes: a weight that is not a number is the same as before too.
    if (first || std::memcmp(&values_[piece.at], piece.values, piece.count * sizeof(float)) != 0) {
      std::copy(piece.values, piece.values + piece.count, values_.begin() + piece.at);
      same = false;
    }
  };
  if (total <= kAlone) {
    for (size_t i = 0; i < pieces.size(); ++i) { compare(i, 0); }
  } else {
    ForEach(pieces.size(), compare);
  }
  return same;
}

}  // namespace caffe
