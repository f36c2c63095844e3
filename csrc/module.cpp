// The Python module pyrnn._cpu. Tensors arrive as addresses, sizes and strides: no libtorch, so one build
// serves all versions of torch. pyrnn/ops/_cpu.py is the only caller of the recurrent functions and keeps the
// order of the fields.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "attention/engine.h"
#include "common/dispatch.h"
#include "common/workspace.h"
#include "pointwise/engine.h"
#include "recurrent/engine.h"

namespace py = pybind11;

namespace {

using Sizes = std::array<int64_t, 10>;  // cell, dtype, T, B, I, H, P, D, N, checkpoint_every
using Sequences =
    std::array<std::array<int64_t, 3>, 6>;  // x, y, cells, g_y, g_cells, d_x: address, stride t, stride b
using Directions = std::vector<std::array<int64_t, 18>>;  // the fields of pyrnn::Direction

template <class T>
T* address(int64_t a) {
  return reinterpret_cast<T*>(a);
}

pyrnn::Problem problem(const Sizes& n, const Sequences& s, const Directions& directions, int64_t lengths,
                       int64_t workspace) {
  pyrnn::Problem p{};
  p.cell = int(n[0]), p.dtype = int(n[1]);
  p.T = n[2], p.B = n[3], p.I = n[4], p.H = n[5], p.P = n[6], p.D = n[7], p.N = n[8],
  p.checkpoint_every = n[9];
  p.lengths = address<const int64_t>(lengths);
  p.workspace = address<void>(workspace);
  pyrnn::Sequence* sequences[] = {&p.x, &p.y, &p.cells, &p.g_y, &p.g_cells, &p.d_x};
  for (int i = 0; i < 6; i++) *sequences[i] = {address<void>(s[i][0]), s[i][1], s[i][2]};
  if (p.D < 1 || p.D > 2 || int64_t(directions.size()) != p.D)
    throw py::value_error("pyrnn: one or two directions");
  for (int64_t d = 0; d < p.D; d++) {
    static_assert(sizeof(pyrnn::Direction) == sizeof(directions[0]));
    void** fields = reinterpret_cast<void**>(&p.direction[d]);
    for (size_t i = 0; i < directions[d].size(); i++) fields[i] = address<void>(directions[d][i]);
  }
  return p;
}

template <void (*kRun)(pyrnn::Problem&, const int64_t*, int, int)>
void run(const Sizes& sizes, const Sequences& sequences, const Directions& directions, int64_t lengths,
         int64_t batch_sizes, int64_t workspace, int threads, int members) {
  pyrnn::Problem p = problem(sizes, sequences, directions, lengths, workspace);
  py::gil_scoped_release release;
  kRun(p, address<const int64_t>(batch_sizes), threads, members);
}

using Four = std::array<int64_t, 4>;
using Five = std::array<int64_t, 5>;

// ints: dtype, B, H, K, T, S, D, V, causal, window_left, window_right, query_start, mask_kind, weights_kind,
// seed. reals: scale, softcap, dropout. heads: q, k, v, out, g_out, d_q, d_k, d_v. scores: mask, weights,
// g_weights. addresses: lengths, padding, slopes, slope_batch, slope_head, statistics, d_mask.
template <void (*kRun)(const pyrnn::AttentionProblem&, int)>
void attend(const std::array<int64_t, 15>& ints, const std::array<double, 3>& reals,
            const std::array<Four, 8>& heads, const std::array<Five, 3>& scores,
            const std::array<int64_t, 7>& addresses, int threads) {
  pyrnn::AttentionProblem p{};
  int64_t* const numbers[] = {&p.dtype,
                              &p.B,
                              &p.H,
                              &p.K,
                              &p.T,
                              &p.S,
                              &p.D,
                              &p.V,
                              &p.causal,
                              &p.window_left,
                              &p.window_right,
                              &p.query_start,
                              &p.mask_kind,
                              &p.weights_kind,
                              &p.seed};
  for (size_t i = 0; i < ints.size(); i++) *numbers[i] = ints[i];
  p.scale = reals[0], p.softcap = reals[1], p.dropout = reals[2];
  pyrnn::Heads* const rows[] = {&p.q, &p.k, &p.v, &p.out, &p.g_out, &p.d_q, &p.d_k, &p.d_v};
  for (size_t i = 0; i < heads.size(); i++)
    *rows[i] = {address<void>(heads[i][0]), heads[i][1], heads[i][2], heads[i][3]};
  pyrnn::Scores* const tables[] = {&p.mask, &p.weights, &p.g_weights};
  for (size_t i = 0; i < scores.size(); i++)
    *tables[i] = {address<void>(scores[i][0]), scores[i][1], scores[i][2], scores[i][3], scores[i][4]};
  p.lengths = address<const int64_t>(addresses[0]);
  p.padding = address<const uint8_t>(addresses[1]);
  p.slopes = address<const float>(addresses[2]);
  p.slope_batch = addresses[3], p.slope_head = addresses[4];
  p.statistics = address<void>(addresses[5]);
  p.d_mask = address<void>(addresses[6]);
  py::gil_scoped_release release;
  kRun(p, threads);
}

// x, other, out: addresses.
template <void (*kRun)(const pyrnn::DropoutProblem&, int)>
void drop(int64_t dtype, int64_t activation, int64_t count, int64_t seed, double p, int64_t x, int64_t other,
          int64_t out, int threads) {
  const pyrnn::DropoutProblem problem{
      dtype, activation, count, seed, p, address<void>(x), address<void>(other), address<void>(out)};
  py::gil_scoped_release release;
  kRun(problem, threads);
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.attr("__version__") = PYRNN_VERSION;
  m.def("isas", &pyrnn::isas, "Instruction sets that this processor can run, best first.");
  m.def("isa", &pyrnn::isa, "The instruction set in use.");
  m.def("set_isa", &pyrnn::set_isa, py::arg("name"));
  m.def("fma_peak", &pyrnn::fma_peak, py::arg("dtype"), py::arg("threads"),
        py::call_guard<py::gil_scoped_release>(),
        "Operations a second of multiply-adds in registers, measured now. dtype: 0 float32, 1 bfloat16, 2 "
        "float64.");
  m.def("advise_huge_pages",
        [](int64_t data, size_t bytes) { pyrnn::advise_huge_pages(address<char>(data), bytes); });
  m.def("recurrent_forward", &run<pyrnn::forward>);
  m.def("recurrent_backward", &run<pyrnn::backward>);
  m.def("attention_forward", &attend<pyrnn::attention_forward>);
  m.def("attention_backward", &attend<pyrnn::attention_backward>);
  m.def("dropout_forward", &drop<pyrnn::dropout_forward>);
  m.def("dropout_backward", &drop<pyrnn::dropout_backward>);
  m.def("recurrent_split", [](const Sizes& n, bool backward, int threads, int members) {
    pyrnn::Problem p{};
    p.cell = int(n[0]), p.dtype = int(n[1]), p.T = n[2], p.B = n[3], p.I = n[4], p.H = n[5], p.P = n[6],
    p.D = n[7];
    const pyrnn::Split s =
        pyrnn::choose_split(p, backward ? pyrnn::Pass::backward : pyrnn::Pass::forward, threads, members);
    return py::make_tuple(s.groups, s.members, s.slices, s.why);
  });
}
