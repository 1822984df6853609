#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/layers/landmark_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

const int kPoints = 68;
const int kValues = 2 * kPoints;
// Counted from 0: six landmarks around each eye, the outer corners first and fourth.
const int kRightEye = 36, kLeftEye = 42, kEyePoints = 6, kOuterRight = 36, kOuterLeft = 45;

// Value and derivative of a function of one coordinate's error.
template <typename Dtype>
struct Error {
  Dtype value, slope;
};

template <typename Dtype>
Error<Dtype> Evaluate(const LandmarkLossParameter& param, Dtype error) {
  const Dtype size = std::abs(error), sign = error > 0 ? 1 : error < 0 ? -1 : 0;
  const Dtype width = param.width(), curvature = param.curvature();
  switch (param.function()) {
    case LandmarkLossParameter_Function_SMOOTH_L1:
      if (size < width) { return {error * error / (2 * width), error / width}; }
      return {size - width / 2, sign};
    case LandmarkLossParameter_Function_WING:
      if (size < width) {
        return {width * std::log1p(size / curvature), sign * width / (curvature + size)};
      }
      return {size - (width - width * std::log1p(width / curvature)), sign};
    default:
      return {size, sign};
  }
}

}  // namespace

template <typename Dtype>
void LandmarkLossLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LossLayer<Dtype>::LayerSetUp(bottom, top);
  const LandmarkLossParameter& param = this->layer_param_.landmark_loss_param();
  CHECK_GT(param.width(), 0) << "landmark_loss_param: width must be more than 0";
  CHECK_GT(param.curvature(), 0) << "landmark_loss_param: curvature must be more than 0";
  CHECK_GT(param.min_size(), 0) << "landmark_loss_param: min_size must be more than 0";
}

template <typename Dtype>
void LandmarkLossLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  top[0]->Reshape(vector<int>());
  const char* const names[] = {"the predictions (bottom 0)", "the targets (bottom 1)"};
  for (int i = 0; i < 2; ++i) {
    CHECK(bottom[i]->num_axes() >= 2 && bottom[i]->count(1) == kValues)
        << "LandmarkLoss: " << names[i] << " must be N x " << kValues << " (68 x, then 68 y), not "
        << bottom[i]->shape_string();
  }
  CHECK_EQ(bottom[1]->shape(0), bottom[0]->shape(0)) << "LandmarkLoss: as many targets as predictions are needed";
  gradient_.Reshape(vector<int>{bottom[0]->shape(0), kValues});
}

template <typename Dtype>
Dtype LandmarkLossLayer<Dtype>::Size(const Dtype* target) const {
  const LandmarkLossParameter& param = this->layer_param_.landmark_loss_param();
  Dtype apart[2] = {1, 0};
  for (int axis = 0; axis < 2; ++axis) {
    const Dtype* values = target + axis * kPoints;
    if (param.normaliser() == LandmarkLossParameter_Normaliser_INTER_PUPIL) {
      apart[axis] = 0;
      for (int i = 0; i < kEyePoints; ++i) {
        apart[axis] += (values[kLeftEye + i] - values[kRightEye + i]) / kEyePoints;
      }
    } else if (param.normaliser() == LandmarkLossParameter_Normaliser_INTER_OCULAR) {
      apart[axis] = values[kOuterLeft] - values[kOuterRight];
    }
  }
  return std::max(std::sqrt(apart[0] * apart[0] + apart[1] * apart[1]), Dtype(param.min_size()));
}

template <typename Dtype>
void LandmarkLossLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const LandmarkLossParameter& param = this->layer_param_.landmark_loss_param();
  const int num = gradient_.shape(0);
  const Dtype share = Dtype(1) / (kPoints * num);
  double loss = 0;
  for (int n = 0; n < num; ++n) {
    const Dtype* prediction = bottom[0]->cpu_data() + n * kValues;
    const Dtype* target = bottom[1]->cpu_data() + n * kValues;
    Dtype* gradient = gradient_.mutable_cpu_data() + n * kValues;
    const Dtype size = Size(target);
    for (int i = 0; i < kPoints; ++i) {
      const Dtype x = (prediction[i] - target[i]) / size;
      const Dtype y = (prediction[kPoints + i] - target[kPoints + i]) / size;
      if (param.function() == LandmarkLossParameter_Function_DISTANCE) {
        const Dtype distance = std::sqrt(x * x + y * y);
        const Dtype factor = distance > 0 ? share / (size * distance) : 0;
        loss += distance;
        gradient[i] = x * factor;
        gradient[kPoints + i] = y * factor;
      } else {
        const Error<Dtype> across = Evaluate(param, x), down = Evaluate(param, y);
        loss += across.value + down.value;
        gradient[i] = across.slope * share / size;
        gradient[kPoints + i] = down.slope * share / size;
      }
    }
  }
  top[0]->mutable_cpu_data()[0] = loss * share;
}

template <typename Dtype>
void LandmarkLossLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  CHECK(!propagate_down[1]) << "LandmarkLoss has no gradient for the targets";
  if (propagate_down[0]) {
    caffe_cpu_scale(gradient_.count(), top[0]->cpu_diff()[0], gradient_.cpu_data(), bottom[0]->mutable_cpu_diff());
  }
}

INSTANTIATE_CLASS(LandmarkLossLayer);
REGISTER_LAYER_CLASS(LandmarkLoss);

}  // namespace caffe
