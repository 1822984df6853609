#ifdef USE_OPENCV
#include <opencv2/core/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <fstream>  // NOLINT(readability/streams)
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/errors/input_files.hpp"
#include "caffe/layers/data_threads.hpp"
#include "caffe/layers/image_float_data_layer.hpp"
#include "caffe/layers/split_columns.hpp"
#include "caffe/util/rng.hpp"

namespace caffe {

namespace {

const char kSpaces[] = " \t\r\n";

// Takes the last word off `text` and reads it as a finite number; false if it is none.
bool TakeNumber(std::string* text, float* value) {
  text->erase(text->find_last_not_of(kSpaces) + 1);
  const size_t before = text->find_last_of(kSpaces);
  if (before == std::string::npos) { return false; }
  const std::string word = text->substr(before + 1);
  char* end;
  *value = std::strtof(word.c_str(), &end);
  text->erase(before);
  return *end == 0 && std::isfinite(*value);
}

// Turns a number in [0, 1) into a whole one from `low` to `high`, both included.
int Choose(double draw, int low, int high) {
  return low + static_cast<int>(draw * (high - low + 1));
}

}  // namespace

template <typename Dtype>
ImageFloatDataLayer<Dtype>::ImageFloatDataLayer(const LayerParameter& param)
    : BasePrefetchingDataLayer<Dtype>(param),
      pad_ratio_(param.transform_param().pad_ratio()),
      crop_h_(param.transform_param().crop_h()),
      crop_w_(param.transform_param().crop_w()),
      center_crop_(param.transform_param().center_crop()),
      label_dim_(param.image_float_data_param().label_dim()),
      hard_sample_(param.image_float_data_param().hard_sample()),
      next_(0), height_(0), width_(0) {
  // These move the labels, so they are done here; the common transformer only gets mean and scale to do.
  this->transform_param_.clear_pad_ratio();
  this->transform_param_.clear_crop_h();
  this->transform_param_.clear_crop_w();
  this->transform_param_.clear_center_crop();
}

template <typename Dtype>
ImageFloatDataLayer<Dtype>::~ImageFloatDataLayer() {
  this->StopInternalThread();
}

template <typename Dtype>
void ImageFloatDataLayer<Dtype>::DataLayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const ImageDataParameter& images = this->layer_param_.image_data_param();
  const ImageFloatDataParameter& param = this->layer_param_.image_float_data_param();
  const TransformationParameter& transform = this->layer_param_.transform_param();
  CHECK(!transform.mirror()) << "ImageFloatData cannot mirror: landmarks would have to change their places";
  CHECK_EQ(transform.crop_size(), 0) << "ImageFloatData: give crop_h and crop_w instead of crop_size";
  CHECK_EQ(crop_h_ > 0, crop_w_ > 0) << "ImageFloatData: give both crop_h and crop_w";
  CHECK_GE(pad_ratio_, 0) << "ImageFloatData: pad_ratio is negative";
  CHECK(!images.has_scale() && !images.has_mean_file() && !images.has_crop_size() && !images.has_mirror())
      << "ImageFloatData: scale, mean_file, crop_size and mirror belong in transform_param";
  CHECK_EQ(images.new_height() > 0, images.new_width() > 0)
      << "ImageFloatData: give both new_height and new_width";
  CHECK(!param.with_heatmap()) << "ImageFloatData does not make heatmaps";
  CHECK_GT(label_dim_, 0) << "ImageFloatData: label_dim must be positive";
  CHECK(!param.is_regression() || label_dim_ % 2 == 0 || (pad_ratio_ == 0 && crop_h_ == 0))
      << "ImageFloatData: to move with the picture, labels must be x values and as many y values";
  CHECK_EQ(top.size(), hard_sample_ ? 3 : 2) << "ImageFloatData has tops for data and labels and, "
      "with hard_sample only, one for weights";
  const int batch_size = images.batch_size();
  CHECK_GT(batch_size, 0) << "ImageFloatData: batch_size must be positive";

  ReadList();
  // A generator of its own, as it is used on another thread; its seed is drawn here, in a fixed order.
  rng_.reset(new Caffe::RNG(caffe_rng_rand()));
  if (images.shuffle()) { ShuffleLines(); }
  if (images.rand_skip()) {
    next_ = Choose(Draw(), 0, images.rand_skip() - 1);
    CHECK_LT(next_, lines_.size()) << images.source() << " has too few lines for its rand_skip";
  }

  const Line& first = lines_[order_[next_]];
  cv::Mat image;
  try {
    image = ReadImage(first);
  } catch (const std::exception& error) {
    LOG(FATAL) << Describe(first, error.what());
  }
  height_ = image.rows;
  width_ = image.cols;
  vector<int> data_shape{batch_size, image.channels(), image.rows, image.cols};
  if (crop_h_ > 0) {
    CHECK(crop_h_ <= image.rows && crop_w_ <= image.cols) << "ImageFloatData: the crop, " << crop_h_ << " x "
        << crop_w_ << ", is larger than the images, " << image.rows << " x " << image.cols;
    data_shape[2] = crop_h_;
    data_shape[3] = crop_w_;
  }
  top[0]->Reshape(data_shape);
  top[1]->Reshape(vector<int>{batch_size, label_dim_});
  if (hard_sample_) { top[2]->Reshape(vector<int>{batch_size, 1}); }
  for (size_t i = 0; i < this->prefetch_.size(); ++i) {
    this->prefetch_[i]->data_.Reshape(data_shape);
    this->prefetch_[i]->label_.Reshape(vector<int>{batch_size, label_dim_ + hard_sample_});
  }
  data_shape[0] = 1;
  workers_ = vector<Worker>(std::min(DataThreads(), batch_size));
  for (Worker& worker : workers_) {
    worker.transformer.reset(new DataTransformer<Dtype>(this->transform_param_, this->phase_));
    worker.picture.Reshape(data_shape);
  }
}

template <typename Dtype>
void ImageFloatDataLayer<Dtype>::ReadList() {
  const string& source = this->layer_param_.image_data_param().source();
  CheckIsFile(source);
  std::ifstream list(source.c_str());
  CHECK(list) << "ImageFloatData: cannot open the list " << source;
  const int count = label_dim_ + hard_sample_;
  string text;
  for (int number = 1; std::getline(list, text); ++number) {
    const size_t start = text.find_first_not_of(kSpaces);
    if (start == string::npos) { continue; }
    text.erase(0, start);
    Line line;
    line.number = number;
    line.values.resize(count);
    for (int i = count - 1; i >= 0; --i) {
      CHECK(TakeNumber(&text, &line.values[i])) << "ImageFloatData: " << source << " line " << number
          << ": expected a path and " << count << " numbers; the one before the last " << count - 1 - i
          << " is missing or not a number";
    }
    text.erase(text.find_last_not_of(kSpaces) + 1);
    line.path = text;
    lines_.push_back(line);
  }
  CHECK(!lines_.empty()) << "ImageFloatData: " << source << " names no images";
  LOG(INFO) << source << " names " << lines_.size() << " images";
  order_.resize(lines_.size());
  std::iota(order_.begin(), order_.end(), 0);
}

template <typename Dtype>
void ImageFloatDataLayer<Dtype>::ShuffleLines() {
  shuffle(order_.begin(), order_.end(), static_cast<rng_t*>(rng_->generator()));
}

template <typename Dtype>
double ImageFloatDataLayer<Dtype>::Draw() {
  return (*static_cast<rng_t*>(rng_->generator()))() / 4294967296.0;
}

template <typename Dtype>
string ImageFloatDataLayer<Dtype>::Describe(const Line& line, const string& what) const {
  const ImageDataParameter& images = this->layer_param_.image_data_param();
  std::ostringstream text;
  text << "ImageFloatData: " << images.root_folder() << line.path << " (" << images.source() << " line "
      << line.number << "): " << what.substr(0, what.find_last_not_of(kSpaces) + 1);
  return text.str();
}

template <typename Dtype>
cv::Mat ImageFloatDataLayer<Dtype>::ReadImage(const Line& line) const {
  const ImageDataParameter& images = this->layer_param_.image_data_param();
  cv::Mat image = cv::imread(images.root_folder() + line.path,
      images.is_color() ? cv::IMREAD_COLOR : cv::IMREAD_GRAYSCALE);
  if (!image.data) { throw std::runtime_error("cannot be read as an image"); }
  if (images.new_height() > 0) {
    cv::resize(image, image, cv::Size(images.new_width(), images.new_height()));
  } else if (crop_h_ == 0 && height_ > 0 && (image.rows != height_ || image.cols != width_)) {
    throw std::runtime_error("its size is not that of the first image; give new_height and new_width");
  }
  return image;
}

template <typename Dtype>
cv::Mat ImageFloatDataLayer<Dtype>::Place(const cv::Mat& image, const double* draws,
    Dtype* labels) const {
  const bool moves = this->layer_param_.image_float_data_param().is_regression();
  const int half = label_dim_ / 2;
  const int size[] = {image.cols, image.rows};
  cv::Mat placed = image;
  if (this->phase_ == TRAIN && pad_ratio_ > 0) {
    const int most = std::max(1, static_cast<int>(image.rows * pad_ratio_));
    const int pad = Choose(draws[0], -most, most);
    if (pad > 0) {
      const int before[] = {Choose(draws[1], 0, 2 * pad), Choose(draws[2], 0, 2 * pad)};
      cv::copyMakeBorder(image, placed, before[1], 2 * pad - before[1], before[0], 2 * pad - before[0],
          cv::BORDER_CONSTANT, cv::Scalar::all(0));
      cv::resize(placed, placed, image.size());
      for (int i = 0; moves && i < label_dim_; ++i) {
        const int axis = i / half;
        const Dtype shrink = Dtype(size[axis]) / (size[axis] + 2 * pad);
        labels[i] = ((labels[i] * size[axis] - Dtype(0.5) + before[axis]) * shrink + Dtype(0.5)) / size[axis];
      }
    }
  }
  if (crop_h_ > 0) {
    if (crop_h_ > image.rows || crop_w_ > image.cols) {
      throw std::runtime_error("is smaller than the crop");
    }
    const int crop[] = {crop_w_, crop_h_};
    const bool anywhere = this->phase_ == TRAIN && !center_crop_;
    int offset[2];
    for (int axis = 0; axis < 2; ++axis) {
      const int room = size[axis] - crop[axis];
      offset[axis] = anywhere ? Choose(draws[3 + axis], 0, room) : room / 2;
    }
    placed = placed(cv::Rect(offset[0], offset[1], crop_w_, crop_h_));
    for (int i = 0; moves && i < label_dim_; ++i) {
      const int axis = i / half;
      labels[i] = (labels[i] * size[axis] - offset[axis]) / crop[axis];
    }
  }
  return placed;
}

template <typename Dtype>
typename ImageFloatDataLayer<Dtype>::Sample ImageFloatDataLayer<Dtype>::NextSample() {
  Sample sample;
  sample.line = &lines_[order_[next_]];
  for (double& draw : sample.draws) { draw = Draw(); }
  if (++next_ == order_.size()) {
    next_ = 0;
    if (this->layer_param_.image_data_param().shuffle()) { ShuffleLines(); }
  }
  return sample;
}

// Runs on many threads at once. Caffe::Get() is to be avoided here: on a GPU, each thread's first call of it
// takes a device context.
template <typename Dtype>
string ImageFloatDataLayer<Dtype>::MakeSample(const Sample& sample, Dtype* picture, Dtype* labels,
    Worker* worker) const {
  try {
    const vector<float>& values = sample.line->values;
    std::copy(values.begin(), values.end(), labels);
    const cv::Mat image = Place(ReadImage(*sample.line), sample.draws, labels);
    worker->picture.set_cpu_data(picture);
    worker->transformer->Transform(image, &worker->picture);
  } catch (const std::exception& error) {
    return Describe(*sample.line, error.what());
  }
  return string();
}

// Runs on the prefetch thread.
template <typename Dtype>
void ImageFloatDataLayer<Dtype>::load_batch(Batch<Dtype>* batch) {
  const int columns = label_dim_ + hard_sample_;
  Dtype* data = batch->data_.mutable_cpu_data();
  Dtype* labels = batch->label_.mutable_cpu_data();
  vector<Sample> samples(batch->data_.shape(0));
  for (Sample& sample : samples) { sample = NextSample(); }
  vector<string> faults(samples.size());
  ShareOut(samples.size(), &workers_, [&](size_t n, Worker* worker) {
    faults[n] = MakeSample(samples[n], data + batch->data_.offset(n), labels + n * columns, worker);
  });
  // The first in the order of the batch, not in time.
  for (const string& fault : faults) {
    if (!fault.empty()) { LOG(FATAL) << fault; }
  }
}

template <typename Dtype>
void ImageFloatDataLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!hard_sample_) {
    BasePrefetchingDataLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  // The prefetched rows hold the labels and the weight.
  BasePrefetchingDataLayer<Dtype>::Forward_cpu(bottom, vector<Blob<Dtype>*>{top[0], &rows_});
  SplitColumns(rows_, top[1], top[2]);
}

#ifdef CPU_ONLY
STUB_GPU_FORWARD(ImageFloatDataLayer, Forward);
#endif

INSTANTIATE_CLASS(ImageFloatDataLayer);
REGISTER_LAYER_CLASS(ImageFloatData);

}  // namespace caffe
#endif  // USE_OPENCV
