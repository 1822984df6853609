// The `caffe` command as a function of a library. libcaffe holds the Python layer but is not linked to
// libpython, so a program of its own could not load it; a Python process can, and it runs nets with Python
// layers under the very interpreter the wheel was built for.
#define main caffe_command_main
#include "../caffe.cpp"
#undef main

#include <cstdio>
#include <stdexcept>

#include "caffe/kernels/isa.hpp"

extern "C" int caffe_program(int argc, char** argv) {
  try {
    caffe::isa();
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "caffe: %s\n", error.what());
    return 1;
  }
  return caffe_command_main(argc, argv);
}
