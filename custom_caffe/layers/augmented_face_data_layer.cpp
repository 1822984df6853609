#if defined(USE_OPENCV) && defined(USE_LMDB)
#include <sys/stat.h>

#include <boost/math/special_functions/erf.hpp>
#include <opencv2/core/core.hpp>
#include <opencv2/imgproc/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "caffe/layers/augmented_face_data_layer.hpp"
#include "caffe/layers/data_threads.hpp"
#include "caffe/layers/split_columns.hpp"
#include "caffe/util/rng.hpp"

namespace caffe {

namespace {

const int kLandmarks = 68;
// A record's numbers: a square and the landmarks.
const int kNumbers = 4 + 2 * kLandmarks;
// Landmark i of a mirrored face is landmark kMirror[i] of the face.
const int kMirror[kLandmarks] = {
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  // outline
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,  // brows
    27, 28, 29, 30, 35, 34, 33, 32, 31,  // nose
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,  // eyes
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,  // outer lips
    64, 63, 62, 61, 60, 67, 66, 65};  // inner lips
// A picture that shrinks by so much or more is averaged first: bilinear sampling would leave pixels out.
const double kMaxShrink = 2;
const char kAllOthers[] = "*";
// What a generator is for: two of one purpose never begin alike.
enum Purpose { kSample, kRound, kFields };
// A stronger deform would fold the crop at times.
const float kMaxDeform = 0.05;

// In [0, 1). The standard's distributions may differ from one library to another; this does not.
double Uniform(FaceGenerator* generator) {
  return ((*generator)() >> 11) * (1.0 / (uint64_t(1) << 53));
}

double Uniform(double low, double high, FaceGenerator* generator) {
  return low + (high - low) * Uniform(generator);
}

// A whole number below `count`.
int Choose(int count, FaceGenerator* generator) {
  return std::min(static_cast<int>(Uniform(generator) * count), count - 1);
}

bool Happens(const RandomChange& change, FaceGenerator* generator) {
  return Uniform(generator) < change.probability();
}

float Strength(const RandomChange& change, FaceGenerator* generator) {
  return Uniform(change.low(), change.high(), generator);
}

void CheckRange(const char* name, double low, double high, double least, double most) {
  CHECK(least <= low && low <= high && high <= most) << "AugmentedFaceData: " << name << " is " << low
      << " to " << high << ", expected a range within " << least << " to " << most;
}

void CheckChange(const char* name, const RandomChange& change, double least,
    double most) {
  CheckRange(name, change.probability(), change.probability(), 0, 1);
  if (change.probability() > 0) {
    CHECK(change.has_low() && change.has_high()) << "AugmentedFaceData: give low and high of " << name;
    CheckRange(name, change.low(), change.high(), least, most);
  }
}

string Text(const MDB_val& value) {
  return string(static_cast<const char*>(value.mv_data), value.mv_size);
}

// Rounds to grey levels from 0 to 255; a half goes up.
float GreyLevel(float value) {
  return static_cast<int>(std::min(std::max(value, 0.f), 255.f) + 0.5f);
}

// Halves planes of bytes by averages of 2 x 2 pixels; an odd row or column is filled up with black.
void Halve(const uint8_t* planes, int height, int width, uint8_t* halved) {
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < height; y += 2) {
      const uint8_t* upper = planes + (channel * height + y) * width;
      const uint8_t* lower = upper + width;
      for (int x = 0; x < width; x += 2, ++halved) {
        int sum = upper[x] + 2;
        if (x + 1 < width) { sum += upper[x + 1]; }
        if (y + 1 < height) {
          sum += lower[x];
          if (x + 1 < width) { sum += lower[x + 1]; }
        }
        *halved = sum / 4;
      }
    }
  }
}

// Along the upper edge of a square from one end to the other, by its upper left and lower right corners.
struct Edge {
  explicit Edge(const float* corners)
      : x((double(corners[2]) - corners[0] + corners[3] - corners[1]) / 2),
        y((double(corners[3]) - corners[1] - corners[2] + corners[0]) / 2),
        length(std::hypot(x, y)) {}
  double x, y, length;
};

// An affine map of the plane: x' = a x + b y + c, y' = d x + e y + f.
struct Affine {
  double a, b, c, d, e, f;

  double x(double px, double py) const { return a * px + b * py + c; }
  double y(double px, double py) const { return d * px + e * py + f; }
  Affine after(const Affine& first) const {
    return Affine{a * first.a + b * first.d, a * first.b + b * first.e, x(first.c, first.f),
        d * first.a + e * first.d, d * first.b + e * first.e, y(first.c, first.f)};
  }
  Affine inverse() const {
    const double determinant = a * e - b * d;
    const Affine linear{e / determinant, -b / determinant, 0, -d / determinant, a / determinant, 0};
    return Affine{linear.a, linear.b, -linear.x(c, f), linear.d, linear.e, -linear.y(c, f)};
  }
};

// cos(pi i (place + 1/2) / size) for i below kModes.
void Cosines(double place, int size, double* cosines) {
  const double first = std::cos(M_PI * (place + 0.5) / size);
  cosines[0] = 1;
  cosines[1] = first;
  for (int i = 2; i < SmoothField::kModes; ++i) { cosines[i] = 2 * first * cosines[i - 1] - cosines[i - 2]; }
}

// The cosines of all places of an axis, kModes for each.
vector<double> AllCosines(int size) {
  vector<double> all(size * SmoothField::kModes);
  for (int i = 0; i < size; ++i) { Cosines(i, size, &all[i * SmoothField::kModes]); }
  return all;
}

double Sum(const double* along, const double* cosines) {
  double sum = 0;
  for (int i = 0; i < SmoothField::kModes; ++i) { sum += along[i] * cosines[i]; }
  return sum;
}

// Where in the bent crop a place of the plain one is seen.
void Bend(const SmoothField& field_x, const SmoothField& field_y, int height, int width, double* x, double* y) {
  const double plain_x = *x, plain_y = *y;
  double cosines_x[SmoothField::kModes], cosines_y[SmoothField::kModes];
  for (int round = 0; round < 50; ++round) {
    Cosines(*x, width, cosines_x);
    Cosines(*y, height, cosines_y);
    const double next_x = plain_x - field_x.At(cosines_x, cosines_y);
    const double next_y = plain_y - field_y.At(cosines_x, cosines_y);
    const double step = std::max(std::abs(next_x - *x), std::abs(next_y - *y));
    *x = next_x;
    *y = next_y;
    if (step < 1e-6) { break; }
  }
}

// A crop that is bent, by fields of which all cosines are given.
struct Bent {
  const SmoothField &field_x, &field_y;
  const vector<double> &across, &down;
};

// Which places of the picture the crop's pixels show, row by row, in units of 2^-32 of a pixel.
class Places {
 public:
  // bent: NULL for a crop that is not.
  Places(const Affine& back, const Bent* bent, int width) : x(width), y(width), back_(back), bent_(bent) {}

  void Row(int v) {
    if (bent_ == NULL) {
      const int64_t step_x = Fixed(back_.a), step_y = Fixed(back_.d);
      x[0] = Fixed(back_.x(0, v));
      y[0] = Fixed(back_.y(0, v));
      for (size_t u = 1; u < x.size(); ++u) {
        x[u] = x[u - 1] + step_x;
        y[u] = y[u - 1] + step_y;
      }
      return;
    }
    double along_x[SmoothField::kModes], along_y[SmoothField::kModes];
    bent_->field_x.Row(&bent_->down[v * SmoothField::kModes], along_x);
    bent_->field_y.Row(&bent_->down[v * SmoothField::kModes], along_y);
    for (size_t u = 0; u < x.size(); ++u) {
      const double* cosines = &bent_->across[u * SmoothField::kModes];
      const double from_x = u + Sum(along_x, cosines), from_y = v + Sum(along_y, cosines);
      x[u] = Fixed(back_.x(from_x, from_y));
      y[u] = Fixed(back_.y(from_x, from_y));
    }
  }

  vector<int64_t> x, y;

 private:
  static int64_t Fixed(double value) { return static_cast<int64_t>(std::llround(std::ldexp(value, 32))); }

  const Affine back_;
  const Bent* const bent_;
};

// What is shown of a picture at `places`: bilinear, black outside, in whole grey levels. In whole numbers,
// which is faster and the same on every processor: shares of neighbours to 2^-kBits.
void Sample(const uint8_t* planes, int height, int width, Places* places, int crop_height, int crop_width,
    float* crop) {
  const int kBits = 11;
  const int kOne = 1 << kBits, kRound = 1 << (2 * kBits - 1);
  const int plane = height * width, crop_plane = crop_height * crop_width;
  const auto blend = [&](int upper_left, int upper_right, int lower_left, int lower_right, int x, int y) {
    const int upper = upper_left * kOne + (upper_right - upper_left) * x;
    const int lower = lower_left * kOne + (lower_right - lower_left) * x;
    return (upper * kOne + (lower - upper) * y + kRound) >> (2 * kBits);
  };
  const int64_t half_share = int64_t(1) << (31 - kBits);
  for (int v = 0; v < crop_height; ++v) {
    places->Row(v);
    for (int u = 0; u < crop_width; ++u, ++crop) {
      const int64_t place_x = places->x[u] + half_share, place_y = places->y[u] + half_share;
      const int64_t left = place_x >> 32, top = place_y >> 32;
      const int x = (place_x >> (32 - kBits)) & (kOne - 1), y = (place_y >> (32 - kBits)) & (kOne - 1);
      if (left >= 0 && top >= 0 && left < width - 1 && top < height - 1) {
        const uint8_t* pixel = planes + top * width + left;
        for (int channel = 0; channel < 3; ++channel, pixel += plane) {
          crop[channel * crop_plane] = blend(pixel[0], pixel[1], pixel[width], pixel[width + 1], x, y);
        }
        continue;
      }
      for (int channel = 0; channel < 3; ++channel) {
        int pixels[4];
        for (int i = 0; i < 4; ++i) {
          const int64_t column = left + i % 2, row = top + i / 2;
          const bool inside = column >= 0 && column < width && row >= 0 && row < height;
          pixels[i] = inside ? planes[channel * plane + row * width + column] : 0;
        }
        crop[channel * crop_plane] = blend(pixels[0], pixels[1], pixels[2], pixels[3], x, y);
      }
    }
  }
}

}  // namespace

const int SmoothField::kModes;
const int SmoothField::kCoefficients;

void SmoothField::Draw(double strength, FaceGenerator* generator) {
  // Of a unit coefficient: bound^2 times the mean squares of its two cosines, 1/2 each but for i or j = 0.
  double total = 0;
  for (int n = 1; n <= kCoefficients; ++n) {
    const int i = n / kModes, j = n % kModes;
    total += (i ? 0.5 : 1) * (j ? 0.5 : 1) / (i * i + j * j);
  }
  for (int n = 1; n <= kCoefficients; ++n) {
    const int i = n / kModes, j = n % kModes;
    // The mean square of what is drawn evenly between -1 and 1 is 1/3.
    const double bound = strength * std::sqrt(3 / (total * (i * i + j * j)));
    coefficients_[n - 1] = bound * Uniform(-1, 1, generator);
  }
}

bool SmoothField::zero() const {
  return std::all_of(coefficients_, coefficients_ + kCoefficients, [](float value) { return value == 0; });
}

void SmoothField::Row(const double* cosines_y, double* along) const {
  for (int i = 0; i < kModes; ++i) {
    along[i] = 0;
    for (int j = i ? 0 : 1; j < kModes; ++j) { along[i] += coefficients_[i * kModes + j - 1] * cosines_y[j]; }
  }
}

double SmoothField::At(const double* cosines_x, const double* cosines_y) const {
  double along[kModes];
  Row(cosines_y, along);
  return Sum(along, cosines_x);
}

template <typename Dtype>
AugmentedFaceDataLayer<Dtype>::AugmentedFaceDataLayer(const LayerParameter& param)
    : BasePrefetchingDataLayer<Dtype>(param),
      param_(param.augmented_face_data_param()),
      height_(param_.height()), width_(param_.width()),
      seed_(0), next_(0), stride_(1), environment_(NULL), transaction_(NULL),
      round_(std::numeric_limits<uint64_t>::max()) {}

template <typename Dtype>
AugmentedFaceDataLayer<Dtype>::~AugmentedFaceDataLayer() {
  this->StopInternalThread();
  CloseLmdb();
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::DataLayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const TransformationParameter& transform = this->layer_param_.transform_param();
  CHECK(!transform.mirror() && !transform.crop_size() && !transform.has_mean_file())
      << "AugmentedFaceData: of transform_param it knows mean_value and scale only";
  CHECK(transform.mean_value_size() == 0 || transform.mean_value_size() == 1
      || transform.mean_value_size() == 3) << "AugmentedFaceData: give one mean_value, or three";
  for (int channel = 0; channel < 3; ++channel) {
    const int count = transform.mean_value_size();
    means_.push_back(count == 0 ? 0 : transform.mean_value(count == 1 ? 0 : channel));
  }
  const int batch_size = param_.batch_size();
  CHECK_GT(batch_size, 0) << "AugmentedFaceData: batch_size must be positive";
  CHECK(height_ > 0 && width_ > 0) << "AugmentedFaceData: height and width must be positive";
  across_ = AllCosines(width_);
  down_ = AllCosines(height_);
  const double infinite = std::numeric_limits<float>::max();
  CheckRange("flip", param_.flip(), param_.flip(), 0, 1);
  CheckRange("shift", param_.shift(), param_.shift(), 0, 1);
  CheckRange("scale_min and scale_max", param_.scale_min(), param_.scale_max(), 0.1, infinite);
  CheckRange("rotate_min and rotate_max", param_.rotate_min(), param_.rotate_max(), -180, 180);
  CheckRange("noise_std_min and noise_std_max", param_.noise_std_min(), param_.noise_std_max(), 0, infinite);
  CheckChange("deform", param_.deform(), 0, kMaxDeform);
  CheckChange("shade", param_.shade(), 0, 2);
  CheckChange("channel_gain", param_.channel_gain(), 0, infinite);
  CheckChange("contrast", param_.contrast(), 0, infinite);
  CheckChange("brightness", param_.brightness(), -255, 255);
  CheckRange("grey", param_.grey().probability(), param_.grey().probability(), 0, 1);
  CheckChange("blur", param_.blur(), 0, 100);
  CheckChange("occlusion", param_.occlusion(), 0, 1);

  OpenLmdb();
  MakePools();
  seed_ = param_.has_seed() ? param_.seed() : caffe_rng_rand();
  stride_ = this->phase_ == TRAIN ? Caffe::solver_count() : 1;
  next_ = param_.first_sample() * stride_ + (stride_ > 1 ? Caffe::solver_rank() : 0);

  const int columns = 2 * kLandmarks + (top.size() > 2 ? kDrawn : 0);
  const vector<int> data_shape{batch_size, 3, height_, width_};
  top[0]->Reshape(data_shape);
  top[1]->Reshape(vector<int>{batch_size, 2 * kLandmarks});
  if (top.size() > 2) { top[2]->Reshape(vector<int>{batch_size, kDrawn}); }
  for (size_t i = 0; i < this->prefetch_.size(); ++i) {
    this->prefetch_[i]->data_.Reshape(data_shape);
    this->prefetch_[i]->label_.Reshape(vector<int>{batch_size, columns});
  }
  if (this->phase_ == TRAIN && param_.noise_std_max() > 0) {
    // The middles of 65536 parts that are equally likely.
    quantiles_.resize(65536);
    for (int i = 0; i < 32768; ++i) {
      quantiles_[32768 + i] = std::sqrt(2.0) * boost::math::erf_inv((2 * i + 1) / 65536.0);
      quantiles_[32767 - i] = -quantiles_[32768 + i];
    }
  }
  workers_ = vector<Worker>(std::min(DataThreads(), batch_size));
  for (Worker& worker : workers_) { worker.planes.resize(3 * height_ * width_); }
  vector<Dtype> picture(3 * height_ * width_), row(columns);
  const string fault = MakeSample(0, 0, picture.data(), row.data(), &workers_[0]);
  CHECK(fault.empty()) << fault;  // an LMDB of something else is told now
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::OpenLmdb() {
  const string& source = param_.source();
  const string file = source + "/data.mdb";
  // Nothing is written and nobody else writes: no lock file is needed, so that the folder may be read-only.
  int error = mdb_env_create(&environment_);
  if (!error) { error = mdb_env_open(environment_, source.c_str(), MDB_RDONLY | MDB_NOTLS | MDB_NOLOCK, 0); }
  CHECK(!error) << "AugmentedFaceData: cannot open the LMDB " << source << ": " << mdb_strerror(error);
  MDB_envinfo info;
  MDB_stat pages;
  struct stat on_disk;
  mdb_env_info(environment_, &info);
  mdb_env_stat(environment_, &pages);
  // A page beyond the file's end ends the program without a word.
  CHECK(stat(file.c_str(), &on_disk) == 0
      && static_cast<uint64_t>(on_disk.st_size) >= (uint64_t(info.me_last_pgno) + 1) * pages.ms_psize)
      << "AugmentedFaceData: " << file << " is cut short";
  MDB_dbi database;
  MDB_cursor* cursor;
  error = mdb_txn_begin(environment_, NULL, MDB_RDONLY, &transaction_);
  if (!error) { error = mdb_dbi_open(transaction_, NULL, 0, &database); }
  if (!error) { error = mdb_cursor_open(transaction_, database, &cursor); }
  CHECK(!error) << "AugmentedFaceData: cannot read the LMDB " << source << ": " << mdb_strerror(error);
  Record record;
  while ((error = mdb_cursor_get(cursor, &record.key, &record.value, MDB_NEXT)) == 0) {
    records_.push_back(record);
  }
  mdb_cursor_close(cursor);
  CHECK_EQ(error, MDB_NOTFOUND) << "AugmentedFaceData: cannot read the LMDB " << source << ": "
      << mdb_strerror(error);
  CHECK(!records_.empty()) << "AugmentedFaceData: the LMDB " << source << " is empty";
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::CloseLmdb() {
  if (transaction_ != NULL) { mdb_txn_abort(transaction_); }
  if (environment_ != NULL) { mdb_env_close(environment_); }
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::MakePools() {
  std::map<string, vector<int> > sets;
  for (size_t i = 0; i < records_.size(); ++i) {
    const string key = Text(records_[i].key);
    const size_t space = key.find(' ');
    sets[space == string::npos ? string() : key.substr(space + 1)].push_back(i);
  }
  string names;
  for (const auto& set : sets) { names += (names.empty() ? "" : ", ") + set.first; }
  LOG(INFO) << param_.source() << " holds " << records_.size() << " faces of " << names;
  order_.resize(records_.size());
  if (param_.set_weight_size() == 0 || this->phase_ == TEST) { return; }
  std::map<string, int> pool_of;  // set or kAllOthers -> its place among the weights
  double total = 0;
  for (int i = 0; i < param_.set_weight_size(); ++i) {
    const float weight = param_.set_weight(i).weight();
    CHECK(weight >= 0 && std::isfinite(weight)) << "AugmentedFaceData: a set_weight is " << weight;
    CHECK_GT(param_.set_weight(i).name_size(), 0) << "AugmentedFaceData: a set_weight without a name";
    for (const string& name : param_.set_weight(i).name()) {
      CHECK(name == kAllOthers || sets.count(name)) << "AugmentedFaceData: " << param_.source()
          << " has no set " << name << "; there are " << names;
      CHECK(pool_of.insert(std::make_pair(name, i)).second) << "AugmentedFaceData: the set " << name
          << " has two weights";
    }
    total += weight;
  }
  CHECK_GT(total, 0) << "AugmentedFaceData: the weights of all sets are 0";
  double sum = 0;
  for (int i = 0; i < param_.set_weight_size(); ++i) {
    Pool pool;
    for (const auto& set : sets) {
      const auto named = pool_of.find(pool_of.count(set.first) ? set.first : kAllOthers);
      if (named != pool_of.end() && named->second == i) {
        pool.records.insert(pool.records.end(), set.second.begin(), set.second.end());
      }
    }
    CHECK(!pool.records.empty()) << "AugmentedFaceData: every set has a weight of its own, and none is left "
        "for " << kAllOthers;
    sum += param_.set_weight(i).weight();
    pool.until = sum / total;
    if (param_.set_weight(i).weight() > 0) { pools_.push_back(pool); }
  }
}

template <typename Dtype>
int AugmentedFaceDataLayer<Dtype>::InTurn(uint64_t number) {
  const uint64_t count = records_.size();
  if (this->phase_ == TEST) { return number % count; }
  if (number / count != round_) {
    round_ = number / count;
    std::iota(order_.begin(), order_.end(), 0);
    FaceGenerator generator(seed_, round_, kRound);
    for (int left = count; left > 1; --left) {
      std::swap(order_[left - 1], order_[Choose(left, &generator)]);
    }
  }
  return order_[number % count];
}

template <typename Dtype>
typename AugmentedFaceDataLayer<Dtype>::Drawn AugmentedFaceDataLayer<Dtype>::Draw(int record,
    FaceGenerator* generator) const {
  const double which_pool = Uniform(generator), which_record = Uniform(generator);
  if (!pools_.empty()) {
    size_t i = 0;
    while (i + 1 < pools_.size() && which_pool >= pools_[i].until) { ++i; }
    const vector<int>& records = pools_[i].records;
    record = records[std::min(static_cast<size_t>(which_record * records.size()), records.size() - 1)];
  }
  Drawn drawn;
  drawn.record = record;
  drawn.flip = Uniform(generator) < param_.flip();
  drawn.shift_x = Uniform(-param_.shift(), param_.shift(), generator);
  drawn.shift_y = Uniform(-param_.shift(), param_.shift(), generator);
  drawn.scale = Uniform(param_.scale_min(), param_.scale_max(), generator);
  drawn.angle = Uniform(param_.rotate_min(), param_.rotate_max(), generator);
  drawn.noise_std = Uniform(param_.noise_std_min(), param_.noise_std_max(), generator);
  // What is drawn for nothing keeps the draws that follow in their places.
  const bool gains = Happens(param_.channel_gain(), generator);
  for (float& gain : drawn.gain) {
    const float strength = Strength(param_.channel_gain(), generator);
    gain = gains ? strength : 1;
  }
  const auto one = [&](const RandomChange& change, float neutral) {
    const bool happens = Happens(change, generator);
    const float strength = Strength(change, generator);
    return happens ? strength : neutral;
  };
  drawn.contrast = one(param_.contrast(), 1);
  drawn.brightness = one(param_.brightness(), 0);
  drawn.grey = Happens(param_.grey(), generator);
  drawn.blur = one(param_.blur(), 0);
  const bool occluded = Happens(param_.occlusion(), generator);
  const int wide = std::lround(Strength(param_.occlusion(), generator) * width_);
  const int high = std::lround(Strength(param_.occlusion(), generator) * height_);
  drawn.left = Choose(width_ - wide + 1, generator);
  drawn.top = Choose(height_ - high + 1, generator);
  drawn.right = drawn.left + wide;
  drawn.bottom = drawn.top + high;
  for (float& level : drawn.colour) { level = Choose(256, generator); }
  if (!occluded) {
    drawn.left = drawn.top = drawn.right = drawn.bottom = 0;
    std::fill_n(drawn.colour, 3, 0);
  }
  return drawn;
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::DrawFields(FaceGenerator* generator, Drawn* drawn) const {
  const auto draw = [generator](const RandomChange& change, double unit, SmoothField* one, SmoothField* other) {
    const bool happens = Happens(change, generator);
    const double strength = Strength(change, generator) * unit;
    one->Draw(happens ? strength : 0, generator);
    if (other != NULL) { other->Draw(happens ? strength : 0, generator); }
  };
  draw(param_.deform(), std::max(height_, width_), &drawn->deform_x, &drawn->deform_y);
  draw(param_.shade(), 1, &drawn->shade, NULL);
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::Warp(const Drawn& drawn, Dtype* landmarks, Worker* worker) const {
  const Datum& datum = worker->datum;
  const float* square = datum.float_data().data();
  const float* points = square + 4;
  const double centre_x = (width_ - 1) / 2.0, centre_y = (height_ - 1) / 2.0;
  const Edge edge(square);
  const double zoom = std::max(height_, width_) / edge.length;
  const double along = zoom * edge.x / edge.length, across = zoom * edge.y / edge.length;
  const double middle_x = (double(square[0]) + square[2]) / 2, middle_y = (double(square[1]) + square[3]) / 2;
  const Affine plain{along, across, centre_x - along * middle_x - across * middle_y,
      -across, along, centre_y + across * middle_x - along * middle_y};
  const double angle = drawn.angle * M_PI / 180;
  const double cosine = drawn.scale * std::cos(angle), sine = drawn.scale * std::sin(angle);
  Affine turn{cosine, -sine, centre_x - cosine * centre_x + sine * centre_y + drawn.shift_x * width_,
      sine, cosine, centre_y - sine * centre_x - cosine * centre_y + drawn.shift_y * height_};
  if (drawn.flip) { turn = Affine{-turn.a, -turn.b, width_ - 1 - turn.c, turn.d, turn.e, turn.f}; }
  const Affine affine = turn.after(plain);
  const bool bent = drawn.bent();
  for (int i = 0; i < kLandmarks; ++i) {
    const int from = drawn.flip ? kMirror[i] : i;
    const double from_x = points[from], from_y = points[kLandmarks + from];
    double x = affine.x(from_x, from_y), y = affine.y(from_x, from_y);
    if (bent) { Bend(drawn.deform_x, drawn.deform_y, height_, width_, &x, &y); }
    landmarks[i] = (x + 1) / width_;
    landmarks[kLandmarks + i] = (y + 1) / height_;
  }

  const uint8_t* planes = reinterpret_cast<const uint8_t*>(datum.data().data());
  int height = datum.height(), width = datum.width();
  Affine back = affine.inverse();
  for (double shrink = 1 / (zoom * drawn.scale); shrink >= kMaxShrink; shrink /= 2) {
    const int half_height = (height + 1) / 2, half_width = (width + 1) / 2;
    vector<uint8_t> halved(3 * half_height * half_width);
    Halve(planes, height, width, halved.data());
    worker->halved.swap(halved);
    planes = worker->halved.data();
    height = half_height;
    width = half_width;
    // Pixel u of the halved picture has its centre at 2 u + 1/2.
    back = Affine{0.5, 0, -0.25, 0, 0.5, -0.25}.after(back);
  }
  const Bent fields{drawn.deform_x, drawn.deform_y, across_, down_};
  Places places(back, bent ? &fields : NULL, width_);
  Sample(planes, height, width, &places, height_, width_, worker->planes.data());
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::ChangeLooks(const Drawn& drawn, Worker* worker) const {
  const int plane = height_ * width_;
  float* const planes[] = {&worker->planes[0], &worker->planes[plane], &worker->planes[2 * plane]};
  if (!drawn.shade.zero()) {
    double along[SmoothField::kModes];
    for (int i = 0; i < plane; ++i) {
      if (i % width_ == 0) { drawn.shade.Row(&down_[i / width_ * SmoothField::kModes], along); }
      const float factor = std::exp(Sum(along, &across_[i % width_ * SmoothField::kModes]));
      for (float* values : planes) { values[i] *= factor; }
    }
  }
  for (int channel = 0; channel < 3; ++channel) {
    if (drawn.gain[channel] != 1) {
      for (int i = 0; i < plane; ++i) { planes[channel][i] *= drawn.gain[channel]; }
    }
  }
  if (drawn.contrast != 1 || drawn.brightness != 0) {
    const double mean = std::accumulate(worker->planes.begin(), worker->planes.end(), 0.0) / (3 * plane);
    const float offset = mean - drawn.contrast * mean + drawn.brightness;
    for (float& value : worker->planes) { value = drawn.contrast * value + offset; }
  }
  if (drawn.grey) {
    for (int i = 0; i < plane; ++i) {
      const float grey = 0.114f * planes[0][i] + 0.587f * planes[1][i] + 0.299f * planes[2][i];
      planes[0][i] = planes[1][i] = planes[2][i] = grey;
    }
  }
  if (drawn.blur > 0) {
    for (float* values : planes) {
      cv::Mat picture(height_, width_, CV_32F, values);
      cv::GaussianBlur(picture, picture, cv::Size(), drawn.blur, drawn.blur, cv::BORDER_REPLICATE);
    }
  }
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = drawn.top; y < drawn.bottom; ++y) {
      float* row = planes[channel] + y * width_;
      std::fill(row + static_cast<int>(drawn.left), row + static_cast<int>(drawn.right),
          drawn.colour[channel]);
    }
  }
  for (float& value : worker->planes) { value = GreyLevel(value); }
}

template <typename Dtype>
string AugmentedFaceDataLayer<Dtype>::Describe(const Record& record, const string& what) const {
  return "AugmentedFaceData: " + param_.source() + ", the face " + Text(record.key) + ": " + what;
}

// Runs on many threads at once; see ImageFloatData's.
template <typename Dtype>
string AugmentedFaceDataLayer<Dtype>::MakeSample(uint64_t number, int record, Dtype* picture, Dtype* row,
    Worker* worker) const {
  Drawn drawn = Drawn();
  drawn.record = record;
  drawn.scale = drawn.contrast = 1;
  std::fill_n(drawn.gain, 3, 1);
  const bool varies = this->phase_ == TRAIN;
  if (varies) {
    worker->generator = FaceGenerator(seed_, number, kSample);
    drawn = Draw(record, &worker->generator);
    FaceGenerator fields(seed_, number, kFields);
    DrawFields(&fields, &drawn);
  }
  const Record& chosen = records_[static_cast<size_t>(drawn.record)];
  Datum& datum = worker->datum;
  if (!datum.ParseFromArray(chosen.value.mv_data, chosen.value.mv_size)) {
    return Describe(chosen, "is no Datum");
  }
  const int64_t pixels = int64_t(datum.height()) * datum.width();
  if (datum.channels() != 3 || datum.height() <= 0 || datum.width() <= 0 || datum.encoded()
      || static_cast<int64_t>(datum.data().size()) != 3 * pixels || datum.float_data_size() != kNumbers) {
    return Describe(chosen, "is not a picture of 3 channels with 140 numbers");
  }
  // Also not true of what is no number.
  if (!(Edge(datum.float_data().data()).length > 0)) { return Describe(chosen, "has an empty square"); }
  Warp(drawn, row, worker);
  if (varies && drawn.looks_change()) { ChangeLooks(drawn, worker); }
  if (this->prefetch_[0]->label_.shape(1) > 2 * kLandmarks) {
    const float* values = reinterpret_cast<const float*>(&drawn);
    std::copy(values, values + kDrawn, row + 2 * kLandmarks);
  }
  vector<float>& planes = worker->planes;
  if (drawn.noise_std > 0) {
    for (size_t i = 0; i < planes.size(); i += 4) {
      uint64_t bits = worker->generator();
      for (size_t k = i; k < std::min(i + 4, planes.size()); ++k, bits >>= 16) {
        planes[k] += drawn.noise_std * quantiles_[bits & 0xffff];
      }
    }
    for (float& value : planes) { value = GreyLevel(value); }
  }
  const float scale = this->layer_param_.transform_param().scale();
  for (int channel = 0, i = 0; channel < 3; ++channel) {
    for (int end = i + height_ * width_; i < end; ++i) { picture[i] = (planes[i] - means_[channel]) * scale; }
  }
  return string();
}

// Runs on the prefetch thread.
template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::load_batch(Batch<Dtype>* batch) {
  const int count = batch->data_.shape(0), columns = batch->label_.shape(1);
  Dtype* data = batch->data_.mutable_cpu_data();
  Dtype* rows = batch->label_.mutable_cpu_data();
  vector<int> in_turn(count, 0);
  for (int n = 0; n < count && pools_.empty(); ++n) { in_turn[n] = InTurn(next_ + uint64_t(n) * stride_); }
  vector<string> faults(count);
  ShareOut(count, &workers_, [&](size_t n, Worker* worker) {
    faults[n] = MakeSample(next_ + n * stride_, in_turn[n], data + batch->data_.offset(n), rows + n * columns,
        worker);
  });
  next_ += uint64_t(count) * stride_;
  for (const string& fault : faults) {
    if (!fault.empty()) { LOG(FATAL) << fault; }
  }
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (top.size() == 2) {
    BasePrefetchingDataLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  // The prefetched rows hold the landmarks and what was drawn.
  BasePrefetchingDataLayer<Dtype>::Forward_cpu(bottom, vector<Blob<Dtype>*>{top[0], &rows_});
  SplitColumns(rows_, top[1], top[2]);
}

template <typename Dtype>
void AugmentedFaceDataLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (top.size() == 2) {
    BasePrefetchingDataLayer<Dtype>::Forward_gpu(bottom, top);
  } else {
    Forward_cpu(bottom, top);  // a rare use, and what is prefetched is in the host's memory too
  }
}

INSTANTIATE_CLASS(AugmentedFaceDataLayer);
REGISTER_LAYER_CLASS(AugmentedFaceData);

}  // namespace caffe
#endif  // USE_OPENCV && USE_LMDB
