#ifndef CAFFE_ERRORS_INPUT_FILES_HPP_
#define CAFFE_ERRORS_INPUT_FILES_HPP_

#include <string>
#include <vector>

#include "caffe/common.hpp"

namespace caffe {

/// What a file is, by its content: "FILE is a caffemodel", "FILE is an HDF5 file", "FILE is a folder", ...;
/// "FILE is missing" if there is none, and "FILE is damaged, or no file that Caffe knows" if it is none of these.
string Described(const string& path);

/// Whether there is something that is neither a file nor a folder: reading a pipe or a device may never end.
bool IsDevice(const string& path);

/// Fails unless it is a file: "File not found: PATH", "PATH is a folder, not a file", "PATH is a device or pipe, not a
/// file". All that opens a file calls this first.
void CheckIsFile(const string& path);

/// A line of a list, without the white space at its end; numbers begin with 1.
struct ListLine {
  int number;
  string text;
};

/// The lines of a text file; blank ones at its end are passed over. Fails, saying what the file is and that the source
/// takes a text file that lists `what`, if it is another kind of file, missing or without lines.
vector<ListLine> ReadList(const string& source, const string& what);

/// Splits "PATH LABEL", a line of an ImageData layer's source. Fails unless LABEL is a whole number.
std::pair<string, int> SplitLabel(const string& source, const ListLine& line);

/// Fails, naming the file and what it is, unless it is an HDF5 file. `where` begins the message.
void CheckIsHDF5(const string& path, const string& where);

}  // namespace caffe

#endif  // CAFFE_ERRORS_INPUT_FILES_HPP_
