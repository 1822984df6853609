// The `caffe` command as a function of a library. libcaffe holds the Python layer but is not linked to
// libpython, so a program of its own could not load it; a Python process can, and it runs nets with Python
// layers under the very interpreter the wheel was built for.
// Boost's headers of Python come before all others.
#include <boost/python.hpp>
#define main caffe_command_main
#include "../caffe.cpp"
#undef main

#include <cstdio>
#include <exception>
#include <stdexcept>

#include "caffe/errors/fatal.hpp"
#include "caffe/kernels/isa.hpp"

// Returns the exit code: 1 after an error, which is printed.
extern "C" int caffe_program(int argc, char** argv) {
  try {
    caffe::isa();
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "caffe: %s\n", error.what());
    return 1;
  }
  try {
    return caffe_command_main(argc, argv);
  } catch (const caffe::FatalError& error) {
    caffe::PrintFatal(error);
  } catch (const boost::python::error_already_set&) {
    PyErr_Print();  // of a Python layer, with its traceback
  } catch (const std::exception& error) {
    std::fprintf(stderr, "caffe: %s\n", error.what());
  }
  return 1;
}
