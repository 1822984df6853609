#include "caffe/errors/input_files.hpp"

#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/unknown_field_set.h>
#include <sys/stat.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fstream>  // NOLINT(readability/streams)
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#ifdef USE_HDF5
#include "hdf5.h"
#endif  // USE_HDF5

#include "caffe/proto/caffe.pb.h"

namespace caffe {

namespace {

const char kSpaces[] = " \t\r\n";

struct Kind {
  string begins, name;
};

const Kind kKinds[] = {
    {"\x89PNG\r\n", "a PNG image"},
    {"\xff\xd8\xff", "a JPEG image"},
    {"GIF8", "a GIF image"},
    {"BM", "a BMP image"},
    {string("II*\0", 4), "a TIFF image"},
    {string("MM\0*", 4), "a TIFF image"},
    {"\x89HDF\r\n\x1a\n", "an HDF5 file"},
    {"\x93NUMPY", "a NumPy array"},
    {"PK\x03\x04", "a zip archive"},
    {"\x1f\x8b", "a gzip archive"},
};

bool Exists(const string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

bool IsFolder(const string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool IsFile(const string& path) { return Exists(path) && !IsFolder(path) && !IsDevice(path); }

#ifdef USE_HDF5
// Our messages say what is wrong; HDF5 would print its own stack of errors before each.
const bool hdf5_is_silent = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
#endif  // USE_HDF5

string Beginning(const string& path) {
  std::ifstream file(path.c_str(), std::ios::binary);
  string text(4096, 0);
  file.read(&text[0], text.size());
  text.resize(file.gcount());
  return text;
}

bool IsText(const string& beginning) {
  for (const unsigned char character : beginning) {
    if ((character < 32 && (character < '\t' || character > '\r')) || character == 127) { return false; }
  }
  return true;
}

// Whether a file holds such a message: another's fields would be unknown to it, or not be there.
template <typename Message, typename Holds>
bool Is(const string& path, const Holds& holds) {
  std::ifstream file(path.c_str(), std::ios::binary);
  Message message;
  return message.ParseFromIstream(&file) && holds(message);
}

// A solverstate has an iteration and at least one more field, and no fields of another message.
bool IsSolverState(const SolverState& state) {
  return state.has_iter() && (state.has_learned_net() || state.history_size() > 0) &&
         state.GetReflection()->GetUnknownFields(state).empty();
}

// An ONNX file is a ModelProto: ir_version (1), names and texts (2 to 4), graph (7), opset_import (8).
bool IsOnnx(const string& path) {
  using google::protobuf::UnknownField;
  std::ifstream file(path.c_str(), std::ios::binary);
  google::protobuf::io::IstreamInputStream stream(&file);
  google::protobuf::UnknownFieldSet fields;
  if (!fields.ParseFromZeroCopyStream(&stream)) { return false; }
  bool version = false, graph = false, opset = false;
  for (int i = 0; i < fields.field_count(); ++i) {
    const int number = fields.field(i).number();
    const bool text = fields.field(i).type() == UnknownField::TYPE_LENGTH_DELIMITED;
    if (number >= 2 && number <= 4 && !text) { return false; }
    version = version || (number == 1 && fields.field(i).type() == UnknownField::TYPE_VARINT);
    graph = graph || (number == 7 && text);
    opset = opset || (number == 8 && text);
  }
  return version && graph && opset;
}

string KindOf(const string& path) {
  if (!Exists(path)) { return "missing"; }
  if (IsFolder(path)) { return IsFile(path + "/data.mdb") ? "an LMDB" : "a folder"; }
  if (IsDevice(path)) { return "a device or pipe, not a file"; }
  const string beginning = Beginning(path);
  if (beginning.empty()) { return "empty"; }
  for (const Kind& kind : kKinds) {
    if (beginning.compare(0, kind.begins.size(), kind.begins) == 0) { return kind.name; }
  }
  if (IsText(beginning)) { return "a text file"; }
  if (IsOnnx(path)) { return "an ONNX file"; }
  if (Is<SolverState>(path, IsSolverState)) { return "a solverstate"; }
  if (Is<NetParameter>(path, [](const NetParameter& net) { return net.layer_size() + net.layers_size() > 0; })) {
    return "a caffemodel";
  }
  if (Is<BlobProto>(path, [](const BlobProto& blob) { return blob.data_size() > 0; })) { return "a mean image"; }
  return "damaged, or no file that Caffe knows";
}

}  // namespace

string Described(const string& path) { return path + " is " + KindOf(path); }

bool IsDevice(const string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

void CheckIsFile(const string& path) {
  LOG_IF(FATAL, !Exists(path)) << "File not found: " << path;
  LOG_IF(FATAL, IsFolder(path)) << path << " is a folder, not a file";
  LOG_IF(FATAL, IsDevice(path)) << path << " is a device or pipe, not a file";
}

vector<ListLine> ReadList(const string& source, const string& what) {
  const bool readable = IsFile(source) && std::ifstream(source.c_str()).good();
  const string takes = "; source names a text file that lists " + what;
  LOG_IF(FATAL, !Exists(source)) << "File not found: " << source << takes;
  LOG_IF(FATAL, !readable || !IsText(Beginning(source))) << Described(source) << takes;
  vector<ListLine> lines;
  std::ifstream file(source.c_str());
  string text;
  for (int number = 1; std::getline(file, text); ++number) {
    text.erase(text.find_last_not_of(kSpaces) + 1);
    lines.push_back(ListLine{number, text});
  }
  while (!lines.empty() && lines.back().text.empty()) { lines.pop_back(); }
  LOG_IF(FATAL, lines.empty()) << source << " is empty" << takes;
  return lines;
}

std::pair<string, int> SplitLabel(const string& source, const ListLine& line) {
  LOG_IF(FATAL, line.text.empty()) << source << ", line " << line.number << " is blank; expected a path and a label";
  const size_t gap = line.text.find_last_of(kSpaces);
  const string word = line.text.substr(gap + 1);  // all of it where there is no gap
  char* end;
  errno = 0;
  const int64_t label = std::strtoll(word.c_str(), &end, 10);
  const bool whole = *end == 0 && errno == 0 && label >= INT_MIN && label <= INT_MAX;
  LOG_IF(FATAL, gap == string::npos || !whole) << source << ", line " << line.number << ": expected a path and a whole "
      "number, found '" << line.text << "'; ImageFloatData layers take real numbers";
  string path = line.text.substr(0, gap);
  path.erase(path.find_last_not_of(kSpaces) + 1);
  return std::make_pair(path, static_cast<int>(label));
}

void CheckIsHDF5(const string& path, const string& where) {
#ifdef USE_HDF5
  const bool is = IsFile(path) && H5Fis_hdf5(path.c_str()) > 0;
  LOG_IF(FATAL, !is) << where << Described(path) << "; expected an HDF5 file";
#endif  // USE_HDF5
}

}  // namespace caffe
