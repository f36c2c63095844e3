// A few steps of the decoder with attention as one call of C++, without derivatives: what a search makes for
// every token. As in csrc/recurrent/eager.cpp, whatever is not in perfect order is declined in words, and the
// operator does the call.
#include "decoder/eager.h"

#include <vector>

#include "common/tensor.h"
#include "decoder/cpu/engine.h"
#include "recurrent/cells/table.h"

namespace py = pybind11;

namespace pyrnn::decoder {
namespace {

// The tensors of a call, in the operator's order; its last one, the target's lengths, must be None.
enum Operand {
  kInput,
  kH0,
  kC0,
  kContext0,
  kKeys,
  kValues,
  kWeightHh,
  kBiasHh,
  kWeightContext,
  kWeightQuery,
  kScoreWeight,
  kWeightLocation,
  kAlignment0,
  kSourceLengths,
  kLengths,
  kOperands
};

constexpr Refusal kOtherShapes = "the tensors' shapes or dtypes do not fit together";

class Call {
 public:
  Refusal read(int cell, double scale, bool cumulative, const py::tuple& given);
  py::tuple run(int threads);

 private:
  Refusal read_sizes();
  Refusal read_lengths(PyObject* lengths);
  bool is_given(int operand) const { return view[operand].data != nullptr; }

  Problem p{};
  Tensors tensors;
  TensorView view[kOperands];
  std::vector<int64_t> kept_lengths;
};

Refusal Call::read(int cell, double scale, bool cumulative, const py::tuple& given) {
  if (cell < 0 || cell >= recurrent::kCellKinds || given.size() != kOperands)
    return "no kernel computes this cell";
  const auto tensor = [&](int operand) { return PyTuple_GET_ITEM(given.ptr(), operand); };
  if (tensor(kLengths) != Py_None) return "targets have lengths";
  p.cell = cell, p.scale = scale, p.cumulative = cumulative;
  for (int i = 0; i < kSourceLengths; i++) {
    if (tensor(i) == Py_None) continue;
    const bool rows = i == kInput || i == kKeys || i == kValues;
    if (!(rows ? tensors.view_rows(tensor(i), view[i]) : tensors.view_contiguous(tensor(i), view[i])))
      return kNotPlain;
    if (view[i].dtype != view[kInput].dtype || !view[i].data) return kOtherShapes;  // one without numbers
    if (grad_enabled() && requires_grad(tensor(i))) return kRecords;
  }
  if (const Refusal why = read_sizes()) return why;
  return read_lengths(tensor(kSourceLengths));
}

Refusal Call::read_sizes() {
  for (int i : {kInput, kH0, kContext0, kKeys, kValues, kWeightHh})
    if (!is_given(i)) return kOtherShapes;
  const TensorView &x = view[kInput], &keys = view[kKeys], &values = view[kValues];
  p.dtype = x.dtype;
  if (x.dtype < 0) return "the input's dtype has no kernel on the CPU";
  if (x.dims != 3 || keys.dims != 3 || values.dims != 3 || view[kWeightHh].dims != 2) return kOtherShapes;
  if (is_given(kWeightLocation) && view[kWeightLocation].dims != 2) return kOtherShapes;
  const int64_t gates = recurrent::kCells[p.cell].gates;
  p.T = x.size(0), p.B = x.size(1), p.H = view[kWeightHh].size(1);
  p.S = keys.size(0), p.A = keys.size(2), p.V = values.size(2);
  p.W = is_given(kWeightLocation) ? view[kWeightLocation].size(1) : 0;
  for (int64_t size : {p.T, p.B, p.S, p.H, p.A, p.V, is_given(kWeightLocation) ? p.W : 1})
    if (size < 1 || size > kLargeCallBytes) return "a size is 0, or out of proportion";
  if (p.T * p.B > kLargeCallBytes || p.T * p.B * (p.H + p.V + p.S) * number_bytes(p.dtype) > kLargeCallBytes)
    return "the results are above 32 MB";
  const int64_t rows = gates * p.H;
  const struct {
    Operand operand;
    int64_t shape[3];
    int dims;
    bool wanted, allowed;
  } expected[] = {
      {kInput, {p.T, p.B, rows}, 3, true, true},
      {kH0, {p.B, p.H}, 2, true, true},
      {kC0, {p.B, p.H}, 2, recurrent::kCells[p.cell].has_c, recurrent::kCells[p.cell].has_c},
      {kContext0, {p.B, p.V}, 2, true, true},
      {kKeys, {p.S, p.B, p.A}, 3, true, true},
      {kValues, {p.S, p.B, p.V}, 3, true, true},
      {kWeightHh, {rows, p.H}, 2, true, true},
      {kBiasHh, {rows}, 1, false, true},
      {kWeightContext, {rows, p.V}, 2, false, true},
      {kWeightQuery, {p.A, p.H}, 2, p.A != p.H, true},
      {kScoreWeight, {p.A}, 1, p.W > 0, p.scale == 1},
      {kWeightLocation, {p.A, p.W}, 2, false, p.W % 2 == 1},
      {kAlignment0, {p.B, p.S}, 2, false, p.W > 0},
  };
  for (const auto& each : expected) {
    const bool given = is_given(each.operand);
    if (given ? !each.allowed || !view[each.operand].has_shape(each.shape, each.dims) : each.wanted)
      return kOtherShapes;
  }
  const auto sequence = [](const TensorView& of) { return Sequence{of.data, of.stride(0), of.stride(1)}; };
  p.x = sequence(x), p.keys = sequence(keys), p.values = sequence(values);
  const void** fields[] = {nullptr,           &p.h_0,          &p.c_0,          &p.context_0,
                           nullptr,           nullptr,         &p.weight_hh,    &p.bias_hh,
                           &p.weight_context, &p.weight_query, &p.score_weight, &p.weight_location,
                           &p.alignment_0};
  for (int i = 0; i < kSourceLengths; i++)
    if (fields[i]) *fields[i] = view[i].data;
  return __builtin_isfinite(p.scale) ? nullptr : kOtherShapes;
}

Refusal Call::read_lengths(PyObject* lengths) {
  if (lengths == Py_None) return nullptr;
  TensorView& to = view[kSourceLengths];
  if (!tensors.view_contiguous(lengths, to)) return kNotPlain;
  if (to.dtype != kIntegers || !to.has_shape({p.B})) return "lengths are no vector of torch.int64";
  const auto* given = reinterpret_cast<const int64_t*>(to.data);
  kept_lengths.assign(given, given + p.B);  // nobody changes a copy between this check and its use
  for (int64_t length : kept_lengths)
    if (length < 0 || length > p.S) return "a length is none of the source";
  p.source_lengths = kept_lengths.data();
  return nullptr;
}

py::tuple Call::run(int threads) {
  const int64_t sizes[] = {p.H, p.V, p.S};
  void** results[] = {&p.output, &p.context, &p.weights};
  TensorView made;
  py::tuple found(6);
  for (int i = 0; i < 3; i++) {
    const int64_t shape[] = {p.T, p.B, sizes[i]};
    found[size_t(i)] = empty(shape, 3, int(p.dtype), made);
    *results[i] = made.data;
  }
  void** states[] = {&p.h_n, &p.c_n, &p.alignment_n};
  for (int i = 0; i < 3; i++) {
    const int64_t shape[] = {p.B, i == 2 ? p.S : p.H};
    if (i == 1 && !p.c_0) {
      found[4] = py::none();
      continue;
    }
    found[size_t(3 + i)] = empty(shape, 2, int(p.dtype), made);
    *states[i] = made.data;
  }
  if (threads == kAsked) return found;
  {
    py::gil_scoped_release release;
    forward(p, threads);
  }
  return found;
}

// decoder_call(cell, scale, cumulative, tensors, threads): the six results, or why not.
py::object call(int cell, double scale, bool cumulative, const py::tuple& given, int threads) {
  if (!unwatched()) return declined(kWatched);
  Call found;
  if (const Refusal why = found.read(cell, scale, cumulative, given)) return declined(why);
  return found.run(threads);
}

}  // namespace

void bind_eager(py::module_& m) { m.def("decoder_call", &call); }

}  // namespace pyrnn::decoder
