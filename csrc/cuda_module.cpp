// The Python module pyrnn._cuda. Tensors arrive as addresses, sizes and strides, and work goes to the
// caller's stream: no libtorch, so one build serves all versions of torch. pyrnn/ops/_cuda.py is the only
// caller of the recurrent functions and keeps the order of the fields.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "recurrent/cuda/engine.h"
#ifdef PYRNN_PTX_DUMP
#  include "host_cuda/ptx_dump.h"
#endif

namespace py = pybind11;

namespace {

using Sizes = std::array<int64_t, 7>;  // the fields of pyrnn::WalkSizes
using Sequences =
    std::array<std::array<int64_t, 3>, 4>;  // y, cells, g_y, g_cells: address, stride t, stride b
using Directions = std::vector<std::array<int64_t, 18>>;  // the fields of pyrnn::WalkDirection
using Shared =
    std::array<int64_t, 8>;  // lengths, step_offset, scratch, workspace, begin, stream, device, engine

template <class T>
T* address(int64_t a) {
  return reinterpret_cast<T*>(a);
}

pyrnn::WalkSizes sizes_of(const Sizes& n) { return {int(n[0]), int(n[1]), n[2], n[3], n[4], n[5], n[6]}; }

pyrnn::Walk walk_of(const Sizes& n, const Sequences& sequences, const Directions& directions,
                    const Shared& shared) {
  pyrnn::Walk w{};
  w.T = n[2], w.B = n[3], w.H = n[4], w.D = n[5], w.checkpoint_every = n[6];
  w.lengths = address<const int64_t>(shared[0]);
  w.step_offset = address<const int64_t>(shared[1]);
  w.workspace = address<void>(shared[3]);
  pyrnn::Sequence* const to[] = {&w.y, &w.cells, &w.g_y, &w.g_cells};
  for (int i = 0; i < 4; i++) *to[i] = {address<void>(sequences[i][0]), sequences[i][1], sequences[i][2]};
  if (w.D < 1 || w.D > 2 || int64_t(directions.size()) != w.D)
    throw py::value_error("pyrnn: one or two directions");
  for (int64_t d = 0; d < w.D; d++) {
    static_assert(sizeof(pyrnn::WalkDirection) == sizeof(directions[0]), "fields of one size");
    std::copy(directions[d].begin(), directions[d].end(), reinterpret_cast<int64_t*>(&w.direction[d]));
  }
  return w;
}

pyrnn::WalkCall call_of(const Shared& shared) {
  return {int(shared[6]), pyrnn::CudaEngine(shared[7]), address<CUstream_st>(shared[5]),
          address<void>(shared[2]), shared[4] != 0};
}

}  // namespace

PYBIND11_MODULE(PYRNN_MODULE, m) {
  m.attr("__version__") = PYRNN_VERSION;
  m.attr("architectures") = PYRNN_ARCHITECTURES;
#ifdef PYRNN_EMULATE
  m.attr("emulated") = true;
  m.attr("detects_races") = PYRNN_DETECTS_RACES;
#else
  m.attr("emulated") = false;
#endif
  m.def("why_unavailable", &pyrnn::why_unavailable,
        "Why no kernel can be launched here; empty where one can.");
  m.def("recurrent_plan", [](const Sizes& n, bool backward, int device, int engine) {
    const pyrnn::WalkPlan plan =
        pyrnn::plan_walk(sizes_of(n), backward, pyrnn::device_properties(device), pyrnn::CudaEngine(engine));
    return py::make_tuple(plan.engine == pyrnn::kCluster      ? "cluster"
                          : plan.engine == pyrnn::kPersistent ? "persistent"
                                                              : "step",
                          plan.resident, plan.slices, plan.rows, plan.unit_blocks * plan.slices * n[5],
                          pyrnn::kBlockThreads, plan.shared, plan.bytes, plan.why);
  });
  m.def("recurrent_walk", [](const Sizes& n, bool backward, const Sequences& sequences,
                             const Directions& directions, const Shared& shared) {
    pyrnn::run_walk(sizes_of(n), backward, walk_of(n, sequences, directions, shared), call_of(shared));
  });
  m.def("recurrent_replay",
        [](const Sizes& n, const Sequences& sequences, const Directions& directions, const Shared& shared) {
          pyrnn::run_replay(sizes_of(n), walk_of(n, sequences, directions, shared), call_of(shared));
        });
  m.def("recurrent_meetings", [](int64_t arrivals, int blocks, int64_t steps, int64_t stream) {
    pyrnn::run_meetings(address<unsigned>(arrivals), blocks, steps, address<CUstream_st>(stream));
  });
#ifdef PYRNN_PTX_DUMP
  m.def("ptx_dump", [](int device) {
    py::dict sections;
    for (const pyrnn::PtxSection& section : pyrnn::ptx_dump(device))
      sections[py::str(section.name)] = py::make_tuple(section.exact, section.values);
    return sections;
  });
#endif
}
