// The Python module pyrnn._cpu. Tensors arrive as addresses, sizes and strides: no libtorch, so one build
// serves all versions of torch. pyrnn/ops/*/cpu.py are the only callers of the operators.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "attention/cpu/engine.h"
#include "attention/eager.h"
#include "attention/fields.h"
#include "common/dispatch.h"
#include "common/fields.h"
#include "common/plain_module.h"
#include "common/tensor.h"
#include "common/workspace.h"
#include "crf/cpu/engine.h"
#include "decoder/cpu/engine.h"
#include "decoder/eager.h"
#include "embedding/bind.h"
#include "loss/bind.h"
#include "module_tables.h"
#include "optimizer/bind.h"
#include "pointwise/cpu/engine.h"
#include "pointwise/fields.h"
#include "recurrent/cpu/engine.h"
#include "recurrent/cpu/frozen.h"
#include "recurrent/eager.h"
#include "recurrent/fields.h"
#include "rows/eager.h"
#include "search/bind.h"
#include "transformer/eager.h"

namespace py = pybind11;

// ---- recurrent

namespace pyrnn::recurrent {
namespace {

#define F(member) PYRNN_FIELD(Problem, member)
const Field<Problem> kProblem[] = {
    F(cell),    F(dtype), F(T),         F(B), F(I), F(H),     F(P),   F(D),       F(N),  F(checkpoint_every),
    F(lengths), F(reset), F(workspace), F(x), F(y), F(cells), F(g_y), F(g_cells), F(d_x)};
#undef F
#define F(member) PYRNN_FIELD(Direction, member)
const Field<Direction> kDirection[] = {F(w_ih),   F(w_hh),   F(b_ih),   F(b_hh),   F(w_hr),  F(h0),
                                       F(c0),     F(h_n),    F(c_n),    F(g_h_n),  F(g_c_n), F(d_w_ih),
                                       F(d_w_hh), F(d_b_ih), F(d_b_hh), F(d_w_hr), F(d_h0),  F(d_c0)};
#undef F
static_assert(sizeof(Direction) == sizeof(void*) * std::size(kDirection), "every field has its name");

// Sizes, and where the weights lie.
Problem weights_of(const py::tuple& problem, const py::tuple& directions) {
  Problem p{};
  fill(p, kProblem, problem);
  if (p.cell < 0 || p.cell >= kCellKinds || p.dtype < 0 || p.dtype >= kCpuDTypes)
    throw py::value_error("pyrnn: unknown cell or dtype");
  if (p.D < 1 || p.D > 2 || int64_t(directions.size()) != p.D)
    throw py::value_error("pyrnn: one or two directions");
  for (int64_t d = 0; d < p.D; d++) fill(p.direction[d], kDirection, directions[size_t(d)]);
  return p;
}

template <void (*kRun)(Problem&, const int64_t*, int, int)>
void run(const py::tuple& problem, const py::tuple& directions, int64_t batch_sizes, int threads,
         int group_size) {
  Problem p = weights_of(problem, directions);
  py::gil_scoped_release release;
  kRun(p, reinterpret_cast<const int64_t*>(batch_sizes), threads, group_size);
}

// Weights of one layer, packed; calls find them while they are frozen.
class PackedWeights {
 public:
  PackedWeights(const py::tuple& problem, const py::tuple& directions)
      : p(weights_of(problem, directions)), packed(pack(p)) {}
  void freeze() const { recurrent::freeze(p, packed); }
  void thaw() const { recurrent::thaw(p, packed); }

 private:
  Problem p;
  std::shared_ptr<const Packed> packed;
};

py::tuple split(const py::tuple& problem, bool backward, int threads, int group_size) {
  Problem p{};
  fill(p, kProblem, problem);
  const Split s = choose_split(p, backward ? Pass::backward : Pass::forward, threads, group_size);
  return py::make_tuple(s.groups, s.group_size, s.slices, s.why);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["recurrent.Problem"] = names_of(kProblem);
  fields["recurrent.Direction"] = names_of(kDirection);
  m.def("recurrent_forward", &run<forward>);
  m.def("recurrent_backward", &run<backward>);
  m.def("recurrent_split", &split);
  py::class_<PackedWeights>(m, "PackedWeights")
      .def(py::init<const py::tuple&, const py::tuple&>())
      .def("freeze", &PackedWeights::freeze)
      .def("thaw", &PackedWeights::thaw);
  bind_eager(m);
}

}  // namespace pyrnn::recurrent

// ---- attention

namespace pyrnn::attention {
namespace {

template <void (*kRun)(const Problem&, int)>
void run(const py::tuple& sizes, const py::tuple& tensors, int threads) {
  const Problem p = problem_of(sizes, tensors);
  py::gil_scoped_release release;
  kRun(p, threads);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["attention.Sizes"] = names_of(kSizes);
  fields["attention.Tensors"] = names_of(kTensors);
  m.def("attention_forward", &run<forward>);
  m.def("attention_backward", &run<backward>);
  bind_eager(m);
}

}  // namespace pyrnn::attention

// ---- decoder

namespace pyrnn::decoder {
namespace {

#define F(member) PYRNN_FIELD(Problem, member)
const Field<Problem> kProblem[] = {F(cell),
                                   F(dtype),
                                   F(T),
                                   F(B),
                                   F(S),
                                   F(H),
                                   F(A),
                                   F(V),
                                   F(W),
                                   F(cumulative),
                                   F(trains),
                                   F(scale),
                                   F(source_lengths),
                                   F(lengths),
                                   F(x),
                                   F(keys),
                                   F(values),
                                   F(h_0),
                                   F(c_0),
                                   F(context_0),
                                   F(weight_hh),
                                   F(bias_hh),
                                   F(weight_context),
                                   F(weight_query),
                                   F(score_weight),
                                   F(weight_location),
                                   F(alignment_0),
                                   F(output),
                                   F(context),
                                   F(weights),
                                   F(h_n),
                                   F(c_n),
                                   F(alignment_n),
                                   F(gates),
                                   F(queries),
                                   F(g_output),
                                   F(g_context),
                                   F(g_weights),
                                   F(g_h_n),
                                   F(g_c_n),
                                   F(g_alignment_n),
                                   F(d_x),
                                   F(d_h_0),
                                   F(d_c_0),
                                   F(d_context_0),
                                   F(d_keys),
                                   F(d_values),
                                   F(d_weight_hh),
                                   F(d_bias_hh),
                                   F(d_weight_context),
                                   F(d_weight_query),
                                   F(d_score_weight),
                                   F(d_weight_location),
                                   F(d_alignment_0)};
#undef F

template <void (*kRun)(const Problem&, int)>
void run(const py::tuple& problem, int threads) {
  Problem p{};
  fill(p, kProblem, problem);
  py::gil_scoped_release release;
  kRun(p, threads);
}

int threads_of_call(const py::tuple& problem, int threads) {
  Problem p{};
  fill(p, kProblem, problem);
  return threads_of(p, threads);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["decoder.Problem"] = names_of(kProblem);
  m.def("decoder_forward", &run<forward>);
  m.def("decoder_backward", &run<backward>);
  m.def("decoder_threads", &threads_of_call);
  bind_eager(m);
}

}  // namespace pyrnn::decoder

// ---- crf

namespace pyrnn::crf {
namespace {

#define F(member) PYRNN_FIELD(Problem, member)
const Field<Problem> kProblem[] = {F(dtype),         F(T),        F(B),        F(C),           F(lengths),
                                   F(emissions),     F(stride_t), F(stride_b), F(transitions), F(start),
                                   F(end),           F(log_z),    F(alpha),    F(g),           F(d_emissions),
                                   F(d_transitions), F(d_start),  F(d_end),    F(tags),        F(scores)};
#undef F

template <void (*kRun)(const Problem&, int)>
void run(const py::tuple& problem, int threads) {
  Problem p{};
  fill(p, kProblem, problem);
  py::gil_scoped_release release;
  kRun(p, threads);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["crf.Problem"] = names_of(kProblem);
  m.def("crf_forward", &run<forward>);
  m.def("crf_backward", &run<backward>);
  m.def("crf_viterbi", &run<viterbi>);
}

}  // namespace pyrnn::crf

// ---- pointwise

namespace pyrnn::pointwise {
namespace {

template <const auto& kFields, auto kRun>
void run(const py::tuple& problem, int threads) {
  const auto p = problem_of(kFields, problem);
  py::gil_scoped_release release;
  kRun(p, threads);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["pointwise.Dropout"] = names_of(kDropout);
  fields["pointwise.ResidualNorm"] = names_of(kResidualNorm);
  fields["pointwise.Rotary"] = names_of(kRotary);
  m.def("dropout_forward", &run<kDropout, dropout_forward>);
  m.def("dropout_backward", &run<kDropout, dropout_backward>);
  m.def("residual_norm_forward", &run<kResidualNorm, residual_norm_forward>);
  m.def("residual_norm_backward", &run<kResidualNorm, residual_norm_backward>);
  m.def("rotary", &run<kRotary, rotary>);
}

}  // namespace pyrnn::pointwise

PYBIND11_MODULE(_cpu, m) {
  m.attr("__version__") = PYRNN_VERSION;
  m.def("isas", &pyrnn::isas, "Instruction sets that this processor can run, best first.");
  m.def("isa", &pyrnn::isa, "The instruction set in use.");
  m.def("set_isa", &pyrnn::set_isa, py::arg("name"));
  m.def("fma_peak", &pyrnn::fma_peak, py::arg("dtype"), py::arg("threads"),
        py::call_guard<py::gil_scoped_release>(),
        "Operations a second of multiply-adds in registers, measured now. dtype: its code.");
  m.def("advise_huge_pages",
        [](int64_t data, size_t bytes) { pyrnn::advise_huge_pages(reinterpret_cast<char*>(data), bytes); });
  pyrnn::bind_tensors(m);
  pyrnn::bind_modules(m);
  pyrnn::rows::bind_eager(m);
  pyrnn::transformer::bind_eager(m);
  pyrnn::search::bind(m);
  py::dict fields;
  pyrnn::recurrent::bind(m, fields);
  pyrnn::attention::bind(m, fields);
  pyrnn::pointwise::bind(m, fields);
  pyrnn::decoder::bind(m, fields);
  pyrnn::crf::bind(m, fields);
  pyrnn::embedding::bind(m, fields);
  pyrnn::loss::bind(m, fields);
  pyrnn::optimizer::bind(m);
  m.attr("fields") = fields;
  pyrnn::export_tables(m);
}
