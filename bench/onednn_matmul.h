// oneDNN's bare float32 product y[M,N] = x[M,K]·Wᵀ, weights reordered once into the layout it likes best.
#pragma once

#include <omp.h>

#include <cstring>
#include <dnnl.hpp>

namespace bm::bench {

class OnednnMatmul {
 public:
  // The number of OpenMP threads when this is made is the one it is made for.
  OnednnMatmul(const float* x, const float* w, float* y, int64_t m, int64_t n, int64_t k)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    const auto f32 = memory::data_type::f32;
    memory::desc x_desc({m, k}, f32, memory::format_tag::ab), y_desc({m, n}, f32, memory::format_tag::ab);
    memory::desc any({k, n}, f32, memory::format_tag::any), stored({k, n}, f32, memory::format_tag::ba);
    dnnl::matmul::primitive_desc description({x_desc, any, y_desc}, engine_);
    matmul_ = dnnl::matmul(description);
    x_ = memory(x_desc, engine_, const_cast<float*>(x));
    y_ = memory(y_desc, engine_, y);
    memory from(stored, engine_, const_cast<float*>(w));
    w_ = memory(description.weights_desc(), engine_);
    dnnl::reorder(from, w_).execute(stream_, from, w_);
    stream_.wait();
  }
  void run() {
    matmul_.execute(stream_, {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, w_}, {DNNL_ARG_DST, y_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  dnnl::memory x_, w_, y_;
};

}  // namespace bm::bench
