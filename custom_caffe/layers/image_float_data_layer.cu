#include <vector>

#include "caffe/layers/image_float_data_layer.hpp"
#include "caffe/util/device_alternate.hpp"

namespace caffe {

namespace {

// Splits rows of labels and a last number, the weight; count is that of all numbers in the rows.
template <typename Dtype>
__global__ void SplitRows(const int count, const int columns, const Dtype* rows, Dtype* labels,
    Dtype* weights) {
  CUDA_KERNEL_LOOP(index, count) {
    const int row = index / columns;
    if (index % columns < columns - 1) {
      labels[index - row] = rows[index];
    } else {
      weights[row] = rows[index];
    }
  }
}

}  // namespace

template <typename Dtype>
void ImageFloatDataLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!hard_sample_) {
    BasePrefetchingDataLayer<Dtype>::Forward_gpu(bottom, top);
    return;
  }
  BasePrefetchingDataLayer<Dtype>::Forward_gpu(bottom, vector<Blob<Dtype>*>{top[0], &rows_});
  const int count = rows_.count();
  SplitRows<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(count, label_dim_ + 1,
      rows_.gpu_data(), top[1]->mutable_gpu_data(), top[2]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FORWARD(ImageFloatDataLayer);

}  // namespace caffe
