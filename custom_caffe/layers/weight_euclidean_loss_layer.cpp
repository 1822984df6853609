#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "caffe/layers/weight_euclidean_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

const int kPoints = 68;
const int kValues = 2 * kPoints;
const int kContour = 17;  // the first landmarks
// Counted from 1: brow ends, eye corners, nose ends and corners, mouth corners.
const int kCoarse[] = {18, 22, 23, 27, 37, 40, 43, 46, 28, 32, 36, 49, 55};

}  // namespace

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LossLayer<Dtype>::LayerSetUp(bottom, top);
  const WeightEuclideanLossParameter& param =
      this->layer_param_.weight_euclidean_loss_param();
  CHECK(param.contour_weight() >= 0 && param.main_weight() >= 0 &&
        param.coarse_weight() >= 0)
      << "weight_euclidean_loss_param: a weight is negative";
  CHECK(param.normalized_type() == 0 || param.normalized_type() == 1)
      << "weight_euclidean_loss_param: normalized_type is 0 (inter-pupil) or 1 "
      "(bounding box), not " << param.normalized_type();
  weights_.Reshape(vector<int>{kPoints});
  Dtype* weights = weights_.mutable_cpu_data();
  std::fill(weights, weights + kPoints, Dtype(0));
  if (param.contour_weight() != 0) {
    std::fill(weights, weights + kContour, param.contour_weight());
  }
  if (param.main_weight() != 0) {
    std::fill(weights + kContour, weights + kPoints, param.main_weight());
  }
  if (param.coarse_weight() != 0) {
    for (int point : kCoarse) { weights[point - 1] = param.coarse_weight(); }
  }
}

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  top[0]->Reshape(vector<int>());
  const char* const names[] = {"the predictions (bottom 0)", "the targets (bottom 1)"};
  for (int i = 0; i < 2; ++i) {
    CHECK(bottom[i]->num_axes() >= 2 && bottom[i]->count(1) == kValues)
        << "WeightEuclideanLoss: " << names[i] << " must be N x " << kValues
        << " (68 x, then 68 y), not " << bottom[i]->shape_string();
  }
  const int num = bottom[0]->shape(0);
  CHECK_EQ(bottom[1]->shape(0), num) << "WeightEuclideanLoss: as many targets as "
      "predictions are needed";
  if (bottom.size() == 3) {
    CHECK(bottom[2]->count() == num * kValues || bottom[2]->count() == num)
        << "WeightEuclideanLoss: the factors (bottom 2) must be N x " << kValues
        << " or N, with N = " << num << ", not " << bottom[2]->shape_string();
  }
  gradient_.Reshape(vector<int>{num, kValues});
  losses_.Reshape(vector<int>{num});
}

template <typename Dtype>
Dtype WeightEuclideanLossLayer<Dtype>::Distance(const Dtype* target) const {
  const WeightEuclideanLossParameter& param =
      this->layer_param_.weight_euclidean_loss_param();
  if (param.normalized() == 0) { return 1; }
  const Dtype* x = target;
  const Dtype* y = target + kPoints;
  Dtype across, down;
  if (param.normalized_type() == 0) {
    // Counted from 0. Not the eyes' centres, and not two landmarks either, but what the published net used.
    across = x[36] - x[42];
    down = y[39] - y[45];
  } else {
    across = *std::max_element(x, x + kPoints) - *std::min_element(x, x + kPoints);
    down = *std::max_element(y, y + kPoints) - *std::min_element(y, y + kPoints);
  }
  return std::max(std::sqrt(across * across + down * down), Dtype(FLT_MIN));
}

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int num = gradient_.shape(0);
  const Dtype* prediction = bottom[0]->cpu_data();
  const Dtype* target = bottom[1]->cpu_data();
  const Dtype* weights = weights_.cpu_data();
  const Dtype* factor = bottom.size() == 3 ? bottom[2]->cpu_data() : NULL;
  const bool by_sample = factor && bottom[2]->count() == num;
  Dtype* gradient = gradient_.mutable_cpu_data();
  Dtype loss = 0;
  for (int n = 0; n < num; ++n) {
    const int row = n * kValues;
    const Dtype scale = 1 / (Distance(target + row) * num);
    for (int i = 0; i < kValues; ++i) {
      const Dtype times = !factor ? Dtype(1) : by_sample ? factor[n] : factor[row + i];
      const Dtype difference = times * (prediction[row + i] - target[row + i]);
      const Dtype weighted = weights[i % kPoints] * difference * scale;
      loss += weighted * difference;
      gradient[row + i] = weighted * times;
    }
  }
  top[0]->mutable_cpu_data()[0] = loss / 2;
}

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::CheckBackward(
    const vector<bool>& propagate_down) const {
  CHECK(!propagate_down[1] ||
        this->layer_param_.weight_euclidean_loss_param().normalized() == 0)
      << "WeightEuclideanLoss has no gradient for the targets when normalized";
  CHECK(propagate_down.size() < 3 || !propagate_down[2])
      << "WeightEuclideanLoss has no gradient for the factors";
}

template <typename Dtype>
void WeightEuclideanLossLayer<Dtype>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  CheckBackward(propagate_down);
  const Dtype loss_weight = top[0]->cpu_diff()[0];
  for (int i = 0; i < 2; ++i) {
    if (propagate_down[i]) {
      caffe_cpu_scale(gradient_.count(), i == 0 ? loss_weight : -loss_weight,
          gradient_.cpu_data(), bottom[i]->mutable_cpu_diff());
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(WeightEuclideanLossLayer);
#endif

INSTANTIATE_CLASS(WeightEuclideanLossLayer);
REGISTER_LAYER_CLASS(WeightEuclideanLoss);

}  // namespace caffe
