#include <cfloat>
#include <vector>

#include "caffe/layers/weight_euclidean_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

const int kPoints = 68;
const int kValues = 2 * kPoints;
const int kThreads = 256;  // more than kValues, and a power of two

// What each sample of the batch adds to the loss, and the gradient: a block for each sample.
//   factor: NULL, or kValues numbers for each sample, or one if by_sample.
//   distance: 0 none, 1 the published mix of eye coordinates, 2 the diagonal of the box around the points.
template <typename Dtype>
__global__ void SampleLoss(const int num, const Dtype* prediction,
    const Dtype* target, const Dtype* factor, const bool by_sample,
    const Dtype* weights, const int distance, Dtype* gradient, Dtype* losses) {
  __shared__ Dtype scratch[kThreads];
  __shared__ Dtype size;
  const int i = threadIdx.x;
  const int n = blockIdx.x;
  const Dtype* points = target + n * kValues;
  if (i == 0) {
    Dtype across = 1;
    Dtype down = 0;
    if (distance == 1) {
      across = points[36] - points[42];
      down = points[kPoints + 39] - points[kPoints + 45];
    } else if (distance == 2) {
      Dtype low[2], high[2];
      for (int axis = 0; axis < 2; ++axis) {
        low[axis] = high[axis] = points[axis * kPoints];
        for (int k = 1; k < kPoints; ++k) {
          const Dtype value = points[axis * kPoints + k];
          low[axis] = value < low[axis] ? value : low[axis];
          high[axis] = value > high[axis] ? value : high[axis];
        }
      }
      across = high[0] - low[0];
      down = high[1] - low[1];
    }
    const Dtype length = sqrt(across * across + down * down);
    size = length > Dtype(FLT_MIN) ? length : Dtype(FLT_MIN);
  }
  __syncthreads();
  scratch[i] = 0;
  if (i < kValues) {
    const int at = n * kValues + i;
    const Dtype times = factor == NULL ? Dtype(1) : factor[by_sample ? n : at];
    const Dtype difference = times * (prediction[at] - points[i]);
    const Dtype weighted = weights[i % kPoints] * difference / (size * num);
    gradient[at] = weighted * times;
    scratch[i] = weighted * difference;
  }
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (i < half) { scratch[i] += scratch[i + half]; }
    __syncthreads();
  }
  if (i == 0) { losses[n] = scratch[0]; }
}

// *total = factor * the sum of n values: one block of kThreads threads.
template <typename Dtype>
__global__ void Sum(const int n, const Dtype* values, const Dtype factor, Dtype* total) {
  __shared__ Dtype sums[kThreads];
  Dtype sum = 0;
  CUDA_KERNEL_LOOP(i, n) { sum += values[i]; }
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) { sums[threadIdx.x] += sums[threadIdx.x + half]; }
    __syncthreads();
  }
  if (threadIdx.x == 0) { *total = factor * sums[0]; }
}

// to = sign * *scale * from.
template <typename Dtype>
__global__ void ScaleBy(const int n, const Dtype* scale, const Dtype sign,
    const Dtype* from, Dtype* to) {
  CUDA_KERNEL_LOOP(i, n) { to[i] = sign * *scale * from[i]; }
}

}  // namespace

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const WeightEuclideanLossParameter& param =
      this->layer_param_.weight_euclidean_loss_param();
  const int num = gradient_.shape(0);
  const Dtype* factor = bottom.size() == 3 ? bottom[2]->gpu_data() : NULL;
  const bool by_sample = factor && bottom[2]->count() == num;
  const int distance = param.normalized() == 0 ? 0 : 1 + param.normalized_type();
  Dtype* losses = losses_.mutable_gpu_data();
  SampleLoss<Dtype><<<num, kThreads>>>(num, bottom[0]->gpu_data(),
      bottom[1]->gpu_data(), factor, by_sample, weights_.gpu_data(), distance,
      gradient_.mutable_gpu_data(), losses);
  Sum<Dtype><<<1, kThreads>>>(num, losses, Dtype(0.5), top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  CheckBackward(propagate_down);
  const int count = gradient_.count();
  for (int i = 0; i < 2; ++i) {
    if (propagate_down[i]) {
      ScaleBy<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(count,
          top[0]->gpu_diff(), Dtype(i == 0 ? 1 : -1), gradient_.gpu_data(),
          bottom[i]->mutable_gpu_diff());
    }
  }
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(WeightEuclideanLossLayer);

}  // namespace caffe
