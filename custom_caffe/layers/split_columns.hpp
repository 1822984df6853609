#ifndef CAFFE_SPLIT_COLUMNS_HPP_
#define CAFFE_SPLIT_COLUMNS_HPP_

#include <algorithm>

#include "caffe/blob.hpp"

namespace caffe {

// Splits each row of a batch in two: the first numbers, as many as a row of `left` has, go to `left`, the rest to
// `right`. A data layer prefetches only two blobs, so one with three tops keeps two of them in one blob.
template <typename Dtype>
void SplitColumns(const Blob<Dtype>& rows, Blob<Dtype>* left, Blob<Dtype>* right) {
  const int count = rows.shape(0), columns = rows.count(1), first = left->count() / count;
  const Dtype* row = rows.cpu_data();
  Dtype* to_left = left->mutable_cpu_data();
  Dtype* to_right = right->mutable_cpu_data();
  for (int n = 0; n < count; ++n, row += columns) {
    to_left = std::copy(row, row + first, to_left);
    to_right = std::copy(row + first, row + columns, to_right);
  }
}

}  // namespace caffe

#endif  // CAFFE_SPLIT_COLUMNS_HPP_
