#include <vector>

#include "caffe/layers/noise_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

const int kThreads = 256;

// partial[b] = the sum of the squares that block b sees; kThreads threads in each. The order of the additions
// is fixed, so the same data give the same bits.
template <typename Dtype>
__global__ void SumSquares(const int n, const Dtype* data, Dtype* partial) {
  __shared__ Dtype sums[kThreads];
  Dtype sum = 0;
  CUDA_KERNEL_LOOP(i, n) { sum += data[i] * data[i]; }
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) { sums[threadIdx.x] += sums[threadIdx.x + half]; }
    __syncthreads();
  }
  if (threadIdx.x == 0) { partial[blockIdx.x] = sums[0]; }
}

// to = from + bias + deviation * (root of the mean of the squares, whose sum is in `parts` parts) * noise.
template <typename Dtype>
__global__ void AddScaledNoise(const int n, const Dtype* from,
    const Dtype* noise, const Dtype* partial, const int parts,
    const Dtype deviation, const Dtype bias, Dtype* to) {
  Dtype squares = 0;
  for (int b = 0; b < parts; ++b) { squares += partial[b]; }
  const Dtype scale = deviation * sqrt(squares / n);
  CUDA_KERNEL_LOOP(i, n) { to[i] = from[i] + bias + scale * noise[i]; }
}

// to = from + low + width * noise.
template <typename Dtype>
__global__ void AddUniformNoise(const int n, const Dtype* from,
    const Dtype* noise, const Dtype low, const Dtype width, Dtype* to) {
  CUDA_KERNEL_LOOP(i, n) { to[i] = from[i] + low + width * noise[i]; }
}

template <typename Dtype>
__global__ void AddBias(const int n, const Dtype* from, const Dtype bias, Dtype* to) {
  CUDA_KERNEL_LOOP(i, n) { to[i] = from[i] + bias; }
}

}  // namespace

template <typename Dtype>
void NoiseLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  const int count = bottom[0]->count();
  const Dtype* bottom_data = bottom[0]->gpu_data();
  Dtype* top_data = top[0]->mutable_gpu_data();
  if (this->phase_ == TEST) {
    if (top_data != bottom_data) { caffe_copy(count, bottom_data, top_data); }
    return;
  }
  const NoiseParameter& param = this->layer_param_.noise_param();
  const Dtype bias = param.bias();
  const int blocks = CAFFE_GET_BLOCKS(count);
  if (param.uniform_range() > 0) {
    Dtype* noise = noise_.mutable_gpu_data();
    const Dtype range = param.uniform_range();
    caffe_gpu_rng_uniform<Dtype>(count, 0, 1, noise);
    AddUniformNoise<Dtype><<<blocks, CAFFE_CUDA_NUM_THREADS>>>(
        count, bottom_data, noise, bias - range, 2 * range, top_data);
  } else if (param.gaussian_std() > 0) {
    Dtype* noise = noise_.mutable_gpu_data();
    Dtype* partial = partial_.mutable_gpu_data();
    // cuRAND draws normal numbers in pairs.
    caffe_gpu_rng_gaussian<Dtype>(count + count % 2, 0, 1, noise);
    SumSquares<Dtype><<<kPartialSums, kThreads>>>(count, bottom_data, partial);
    AddScaledNoise<Dtype><<<blocks, CAFFE_CUDA_NUM_THREADS>>>(count,
        bottom_data, noise, partial, kPartialSums, param.gaussian_std(), bias,
        top_data);
  } else {
    AddBias<Dtype><<<blocks, CAFFE_CUDA_NUM_THREADS>>>(
        count, bottom_data, bias, top_data);
  }
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void NoiseLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0] || bottom[0] == top[0]) { return; }
  caffe_copy(top[0]->count(), top[0]->gpu_diff(), bottom[0]->mutable_gpu_diff());
}

INSTANTIATE_LAYER_GPU_FUNCS(NoiseLayer);

}  // namespace caffe
