#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "bindings.hpp"
#include "frame_stats.hpp"

namespace py = pybind11;

namespace spatialbeam {
namespace {

// Holds a reference to a contiguous buffer.
class HeldBuffer {
 public:
  explicit HeldBuffer(py::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~HeldBuffer() { PyBuffer_Release(&buffer_); }
  HeldBuffer(const HeldBuffer&) = delete;
  HeldBuffer& operator=(const HeldBuffer&) = delete;

  // Throws std::invalid_argument if `height` rows of `width` samples exceed the buffer.
  PlaneView plane(const char* name, std::ptrdiff_t stride, int width, int height, int sample_bytes) const {
    const std::ptrdiff_t row_bytes = std::ptrdiff_t(width) * sample_bytes;
    if (stride < row_bytes) {
      throw std::invalid_argument(std::string("the line size of plane ") + name + " is " + std::to_string(stride) +
                                  " bytes, a row of it has " + std::to_string(row_bytes));
    }
    if (stride > (PTRDIFF_MAX - row_bytes) / height) {
      throw std::invalid_argument(std::string("the line size of plane ") + name + " is too large");
    }
    const std::ptrdiff_t needed = stride * (height - 1) + row_bytes;
    if (buffer_.len < needed) {
      throw std::invalid_argument(std::string("plane ") + name + " has " + std::to_string(buffer_.len) +
                                  " bytes, its size and line size need " + std::to_string(needed));
    }
    const auto* data = static_cast<const std::uint8_t*>(buffer_.buf);
    if (reinterpret_cast<std::uintptr_t>(data) % sample_bytes != 0 || stride % sample_bytes != 0) {
      throw std::invalid_argument(std::string("samples of plane ") + name + " must be aligned to 2 bytes");
    }
    return {data, stride};
  }

 private:
  Py_buffer buffer_{};
};

class BoundFrameStats {
 public:
  BoundFrameStats(int width, int height, int chroma_width, int chroma_height, int bit_depth, const std::string& simd)
      : format_{width, height, chroma_width, chroma_height, bit_depth}, analyzer_(make_frame_analyzer(format_, simd)) {}

  // (motion, luma mean, nominal luma mean, u mean, v mean, thumbnail)
  py::tuple push(py::handle y, std::ptrdiff_t y_stride, py::handle u, std::ptrdiff_t u_stride, py::handle v,
                 std::ptrdiff_t v_stride) {
    if (is_busy_) throw std::runtime_error("this object is in use by another thread");
    std::array<std::unique_ptr<HeldBuffer>, 3> buffers;
    std::array<PlaneView, 3> planes;
    const auto hold = [&](int i, const char* name, py::handle plane, std::ptrdiff_t stride, int width, int height) {
      buffers[i] = std::make_unique<HeldBuffer>(plane);
      planes[i] = buffers[i]->plane(name, stride, width, height, format_.sample_bytes());
    };
    hold(0, "y", y, y_stride, format_.width, format_.height);
    if (format_.has_chroma()) {
      hold(1, "u", u, u_stride, format_.chroma_width, format_.chroma_height);
      hold(2, "v", v, v_stride, format_.chroma_width, format_.chroma_height);
    }
    py::tuple values = analyze(planes[0], planes[1], planes[2]);
    previous_ = std::move(buffers);
    return values;
  }

  void reset() {
    if (is_busy_) throw std::runtime_error("this object is in use by another thread");
    analyzer_->reset();
    previous_ = {};
  }

 private:
  py::tuple analyze(PlaneView y, PlaneView u, PlaneView v) {
    py::array_t<std::uint8_t> thumbnail({kThumbnailHeight, kThumbnailWidth, 3});
    std::uint8_t* cells = thumbnail.mutable_data();
    FrameStatValues values;
    is_busy_ = true;
    {
      py::gil_scoped_release release;
      values = analyzer_->push(y, u, v, cells);
    }
    is_busy_ = false;
    return py::make_tuple(values.motion, values.luma_mean, values.luma_nominal_mean, values.u_mean, values.v_mean,
                          std::move(thumbnail));
  }

  FrameFormat format_;
  std::unique_ptr<FrameAnalyzer> analyzer_;
  std::array<std::unique_ptr<HeldBuffer>, 3> previous_;  // planes that the analyzer reads in the next push
  bool is_busy_ = false;                                 // changed only while the GIL is held
};

}  // namespace

void bind_frame_stats(py::module_& module) {
  module.def("available_simd", &available_simd);
  py::class_<BoundFrameStats>(module, "FrameStats")
      .def(py::init<int, int, int, int, int, const std::string&>())
      .def("push", &BoundFrameStats::push)
      .def("reset", &BoundFrameStats::reset);
}

}  // namespace spatialbeam
