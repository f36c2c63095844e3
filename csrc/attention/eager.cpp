// Self-attention on packed projections as one call of C++, for pyrnn/ops/attention/eager.py.
#include "attention/eager.h"

#include "attention/self_attention.h"

namespace py = pybind11;

namespace pyrnn::attention {
namespace {

// `record(options, packed)` is called where autograd records.
py::object call(const py::object& record, const py::tuple& options, int threads, const py::object& packed) {
  SelfAttention found;
  if (!unwatched()) return declined(kWatched);
  if (const Refusal why = found.read(options, packed.ptr())) return declined(why);
  if (threads != kAsked && grad_enabled() && requires_grad(packed.ptr())) return record(options, packed);
  return found.run(false, threads);
}

py::object train(const py::tuple& options, int threads, const py::object& packed) {
  SelfAttention found;
  return found.read(options, packed.ptr()) ? py::none() : found.run(true, threads);
}

py::object gradient(const py::tuple& options, int threads, const py::object& packed, const py::object& output,
                    const py::object& statistics, const py::object& grad) {
  SelfAttention found;
  if (!unwatched() || grad_enabled() || found.read(options, packed.ptr())) return py::none();
  return found.gradient(grad.ptr(), output.ptr(), statistics.ptr(), threads);
}

py::object cached(const py::tuple& options, int threads, const py::object& packed, const py::object& keys,
                  const py::object& values, int64_t begin, int64_t end) {
  SelfAttention found;
  if (!unwatched()) return declined(kWatched);
  if (grad_enabled()) return declined(kRecords);
  if (const Refusal why = found.read(options, packed.ptr())) return declined(why);
  if (const Refusal why = found.read_cache(keys.ptr(), values.ptr(), begin, end)) return declined(why);
  return found.run_cached(threads);
}

}  // namespace

void bind_eager(py::module_& m) {
  m.def("attention_call", &call);
  m.def("attention_train", &train);
  m.def("attention_gradient", &gradient);
  m.def("attention_cached", &cached);
}

}  // namespace pyrnn::attention
