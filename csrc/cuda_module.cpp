// The Python module pyrnn._cuda. Tensors arrive as addresses, sizes and strides, and work goes to the
// caller's stream: no libtorch, so one build serves all versions of torch. pyrnn/ops/recurrent/cuda,
// pyrnn/ops/attention/cuda.py and pyrnn/ops/dropout/cuda.py are the only callers of their functions.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "attention/cuda/engine.h"
#include "attention/fields.h"
#include "common/cuda/grid_barrier_probe.h"
#include "common/fields.h"
#include "module_tables.h"
#include "pointwise/cuda/engine.h"
#include "pointwise/fields.h"
#include "recurrent/cuda/engine.h"
#include "recurrent/fields.h"
#ifdef PYRNN_PTX_DUMP
#  include "emulator/ptx_dump.h"
#endif

namespace py = pybind11;

namespace pyrnn::recurrent::cuda {
namespace {

#define F(member) PYRNN_FIELD(Sizes, member)
const Field<Sizes> kSizes[] = {F(cell), F(dtype), F(T), F(B), F(H), F(D), F(checkpoint_every)};
#undef F
#define F(member) PYRNN_FIELD(Recurrence, member)
const Field<Recurrence> kTensors[] = {F(lengths), F(step_offset), F(reset), F(workspace),
                                      F(y),       F(cells),       F(g_y),   F(g_cells)};
#undef F
#define F(member) PYRNN_FIELD(Direction, member)
const Field<Direction> kDirection[] = {
    F(w_hh), F(b_ih),    F(b_hh), F(h0),    F(c0),         F(first_h), F(first_c),      F(last_h), F(last_c),
    F(gx),   F(gx_row0), F(gh),   F(saved), F(saved_row0), F(d_gates), F(d_gates_row0), F(s0),     F(s1)};
#undef F
static_assert(sizeof(Direction) == 8 * std::size(kDirection), "every field has its name");
#define F(member) PYRNN_FIELD(Launch, member)
const Field<Launch> kLaunch[] = {F(device), F(engine), F(stream), F(scratch), F(begin)};
#undef F

Sizes sizes_of(const py::tuple& values) {
  Sizes n{};
  fill(n, kSizes, values);
  return n;
}

Launch launch_of(const py::tuple& values) {
  Launch launch{};
  fill(launch, kLaunch, values);
  return launch;
}

Recurrence recurrence_of(const Sizes& n, const py::tuple& tensors, const py::tuple& directions) {
  Recurrence w{};
  fill(w, kTensors, tensors);
  w.T = n.T, w.B = n.B, w.H = n.H, w.D = n.D, w.checkpoint_every = n.checkpoint_every;
  if (w.D < 1 || w.D > 2 || int64_t(directions.size()) != w.D)
    throw py::value_error("pyrnn: one or two directions");
  for (int64_t d = 0; d < w.D; d++) fill(w.direction[d], kDirection, directions[size_t(d)]);
  return w;
}

py::tuple plan_of(const py::tuple& sizes, bool backward, int device, int engine) {
  const Sizes n = sizes_of(sizes);
  const Plan plan = make_plan(n, backward, device_properties(device), Engine(engine));
  const char* name = plan.engine == kCluster ? "cluster" : plan.engine == kPersistent ? "persistent" : "step";
  return py::make_tuple(name, plan.resident, plan.slices, plan.rows, plan.unit_blocks * plan.slices * n.D,
                        kBlockThreads, plan.shared, plan.bytes, plan.why);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["recurrent.cuda.Sizes"] = names_of(kSizes);
  fields["recurrent.cuda.Tensors"] = names_of(kTensors);
  fields["recurrent.cuda.Direction"] = names_of(kDirection);
  fields["recurrent.cuda.Launch"] = names_of(kLaunch);
  m.def("why_unavailable", &why_unavailable, "Why no kernel can be launched here; empty where one can.");
  m.def("recurrent_plan", &plan_of);
  m.def("recurrent_run", [](const py::tuple& sizes, bool backward, const py::tuple& tensors,
                            const py::tuple& directions, const py::tuple& launch) {
    const Sizes n = sizes_of(sizes);
    run(n, backward, recurrence_of(n, tensors, directions), launch_of(launch));
  });
  m.def("recurrent_replay", [](const py::tuple& sizes, const py::tuple& tensors, const py::tuple& directions,
                               const py::tuple& launch) {
    const Sizes n = sizes_of(sizes);
    replay(n, recurrence_of(n, tensors, directions), launch_of(launch));
  });
}

}  // namespace pyrnn::recurrent::cuda

namespace pyrnn::attention::cuda {
namespace {

// A pass that is planned: Python allocates the scratch memory that it needs, and runs it.
template <class Plan>
struct Pass {
  Problem problem;
  Plan plan;
};

Pass<ForwardPlan> plan_of_forward(const py::tuple& sizes, const py::tuple& tensors, int device,
                                  int generation) {
  const Problem p = problem_of(sizes, tensors);
  return {p, plan_forward(p, device_properties(device), Generation(generation))};
}

Pass<BackwardPlan> plan_of_backward(const py::tuple& sizes, const py::tuple& tensors, int device,
                                    const std::array<int64_t, 4>& mask) {
  const Problem p = problem_of(sizes, tensors);
  return {p, plan_backward(p, {mask[0], mask[1], mask[2], mask[3]}, device_properties(device))};
}

py::tuple words_of(const Pass<ForwardPlan>& pass) {
  const ForwardPlan& plan = pass.plan;
  return py::make_tuple(plan.generation == kHopper ? "hopper" : "ampere", plan.kernel->rows,
                        plan.kernel->steps, plan.blocks, plan.kernel->run.threads, plan.splits,
                        plan.kernel->shared, plan.scratch_bytes, plan.why);
}

template <class Plan, void (*kRun)(const Problem&, const Plan&, const Launch&)>
py::class_<Pass<Plan>> bind_pass(py::module_& m, const char* name) {
  return py::class_<Pass<Plan>>(m, name)
      .def_property_readonly("scratch_bytes", [](const Pass<Plan>& pass) { return pass.plan.scratch_bytes; })
      .def("run", [](const Pass<Plan>& pass, int64_t stream, int64_t scratch) {
        kRun(pass.problem, pass.plan,
             {reinterpret_cast<cudaStream_t>(stream), reinterpret_cast<void*>(scratch)});
      });
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["attention.Sizes"] = names_of(kSizes);
  fields["attention.Tensors"] = names_of(kTensors);
  bind_pass<ForwardPlan, forward>(m, "AttentionForward")
      .def(py::init(&plan_of_forward))
      .def_property_readonly("plan", &words_of);
  bind_pass<BackwardPlan, backward>(m, "AttentionBackward").def(py::init(&plan_of_backward));
}

}  // namespace pyrnn::attention::cuda

namespace pyrnn::pointwise::cuda {
namespace {

#define F(member) PYRNN_FIELD(Launch, member)
const Field<Launch> kLaunch[] = {F(device), F(stream)};
#undef F

template <const auto& kFields, auto kRun>
void run(const py::tuple& problem, const py::tuple& launch) {
  Launch call{};
  fill(call, kLaunch, launch);
  kRun(problem_of(kFields, problem), call);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["pointwise.Dropout"] = names_of(kDropout);
  fields["pointwise.cuda.Launch"] = names_of(kLaunch);
  fields["pointwise.ResidualNorm"] = names_of(kResidualNorm);
  fields["pointwise.Rotary"] = names_of(kRotary);
  m.def("dropout_forward", &run<kDropout, dropout_forward>);
  m.def("dropout_backward", &run<kDropout, dropout_backward>);
  m.def("residual_norm_forward", &run<kResidualNorm, residual_norm_forward>);
  m.def("residual_norm_backward", &run<kResidualNorm, residual_norm_backward>);
  m.def("rotary", &run<kRotary, rotary>);
}

}  // namespace pyrnn::pointwise::cuda

PYBIND11_MODULE(PYRNN_MODULE, m) {
  m.attr("__version__") = PYRNN_VERSION;
  m.attr("architectures") = PYRNN_ARCHITECTURES;
#ifdef PYRNN_EMULATE
  m.attr("emulated") = true;
  m.attr("detects_races") = PYRNN_DETECTS_RACES;
#else
  m.attr("emulated") = false;
#endif
  pyrnn::export_tables(m);
  py::dict fields;
  pyrnn::recurrent::cuda::bind(m, fields);
  pyrnn::attention::cuda::bind(m, fields);
  pyrnn::pointwise::cuda::bind(m, fields);
  m.attr("fields") = fields;
  m.def("grid_barriers", [](int64_t arrivals, int blocks, int64_t steps, int64_t stream) {
    pyrnn::run_grid_barriers(reinterpret_cast<unsigned*>(arrivals), blocks, steps,
                             reinterpret_cast<cudaStream_t>(stream));
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
