// One call of the recurrent operator as one call of C++: looks at the tensors, allocates the results, runs
// the kernels. Of small calls, a step of a decoder or an agent, most of the time is otherwise spent in
// Python.
//
// Served are plain tensors on the CPU in perfect order. Everything else (other tensors, a watcher, a shape
// that does not fit, lengths, packed data, projections, large results) is declined in words, and Python goes
// the general way, which computes the same bits or has an error to raise.
#include "recurrent/eager.h"

#include "common/dtype.h"
#include "common/integers.h"
#include "common/tensor.h"
#include "recurrent/cells/table.h"
#include "recurrent/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::recurrent {
namespace {

constexpr int kWeights = 4;  // of a direction: w_ih, w_hh, b_ih, b_hh

// How input and results are laid out: steps [T, B, I], the batch first [B, T, I], or a single step [B, I].
// Any may come without the batch.
enum Layout { kTimeFirst, kBatchFirst, kStep };

// The tensors of a call, checked, and its problem.
class Call {
 public:
  // `tensors`: input, h0, c0 (None: zeros), and the weights of one or two directions.
  Refusal read(int cell, int layout, PyObject* const* tensors, Py_ssize_t count);
  // Output, final states; in training also what `gradients` takes again: saved values, then the output.
  py::object run(bool trains, int threads, int group_size);
  // Gradients of the tensors, None where not needed. `kept` is what training returned last.
  py::object gradients(PyObject* const* grads, Py_ssize_t count, PyObject* kept, PyObject* needs, int threads,
                       int group_size);

 private:
  struct Shape {
    int64_t size[3];
    int dims;
    bool is_of(const TensorView& view) const { return view.has_shape(size, dims); }
  };
  Shape rows(int64_t features) const;  // of a sequence laid out as the input is
  Shape state() const;                 // of h_n and c_n
  Sequence sequence(const TensorView& view) const;
  bool has_c() const { return kCells[p.cell].has_c; }
  int64_t saved_bytes() const {
    return p.D * p.N * kCells[p.cell].saved * round_up(p.H, kWorkspaceAlign) * (p.dtype == kFloat64 ? 8 : 4);
  }
  int64_t output_bytes() const { return p.N * p.D * p.H * number_bytes(p.dtype); }

  Problem p{};
  Tensors tensors;
  TensorView input, h0, c0, weight[2 * kWeights];
  int layout;
  bool batched;
};

Refusal Call::read(int cell, int the_layout, PyObject* const* given, Py_ssize_t count) {
  const Refusal other_weights = "the weights are not those of this cell in the input's dtype";
  const Py_ssize_t weights = count - 3;
  if (weights != kWeights && weights != 2 * kWeights) return other_weights;
  if (cell < 0 || cell >= kCellKinds || the_layout < kTimeFirst || the_layout > kStep)
    return "no kernel computes this cell";
  if (!tensors.view_rows(given[0], input)) return kNotPlain;
  if (input.dtype < 0) return "the input's dtype has no kernel on the CPU";
  layout = the_layout;
  const int dims = layout == kStep ? 2 : 3;
  batched = input.dims == dims;
  if (!batched && input.dims != dims - 1) return "the input has another number of dimensions";
  p.cell = cell;
  p.dtype = input.dtype;
  p.D = weights / kWeights;
  p.I = input.size(-1);
  p.T = layout == kStep ? 1 : input.size(batched && layout == kBatchFirst ? 1 : 0);
  p.B = !batched ? 1 : input.size(layout == kTimeFirst ? 1 : 0);
  p.N = p.T * p.B;
  const auto present = [](PyObject* tensor) { return tensor != Py_None; };
  const auto fits = [&](PyObject* tensor, TensorView& view) -> Refusal {
    if (!tensors.view_contiguous(tensor, view)) return kNotPlain;
    return view.dtype == p.dtype ? nullptr : "the tensors differ in dtype";
  };
  const int64_t gates = kCells[cell].gates;
  for (int i = 0; i < weights; i++) {
    const int kind = i % kWeights, d = i / kWeights;
    Direction& w = p.direction[d];
    if (!present(given[3 + i])) {  // a bias, and then of both directions
      if (kind < 2 || (d && weight[kind].data)) return other_weights;
      continue;
    }
    if (const Refusal why = fits(given[3 + i], weight[i])) return why;
    if (i == 0 && weight[0].dims == 2) p.H = p.P = weight[0].size(0) / gates;
    const bool right = kind == 0   ? weight[i].has_shape({gates * p.H, p.I})
                       : kind == 1 ? weight[i].has_shape({gates * p.H, p.H})
                                   : weight[i].has_shape({gates * p.H});
    if (!right || (d && !weight[kind].data)) return other_weights;
    const void** fields[] = {&w.w_ih, &w.w_hh, &w.b_ih, &w.b_hh};
    *fields[kind] = weight[i].data;
  }
  if (!p.N || !p.I || !p.H) return "a size is 0";
  const Refusal large = "the results, with what training keeps, are above 32 MB";
  if (max(p.N, p.H) > kLargeCallBytes) return large;  // nor do the next products overflow
  if (saved_bytes() + output_bytes() > kLargeCallBytes) return large;
  const Shape expected = state();
  TensorView* states[] = {&h0, &c0};
  for (int i = 0; i < 2; i++) {
    if (!present(given[1 + i])) continue;
    if (const Refusal why = fits(given[1 + i], *states[i])) return why;
    if (!expected.is_of(*states[i]) || (i && !has_c())) return "a state's shape does not fit the input";
  }
  for (int d = 0; d < p.D; d++) {
    const int64_t offset = d * p.B * p.H * number_bytes(p.dtype);
    p.direction[d].h0 = h0.data ? h0.data + offset : nullptr;
    p.direction[d].c0 = c0.data ? c0.data + offset : nullptr;
  }
  p.x = sequence(input);
  return nullptr;
}

Call::Shape Call::rows(int64_t features) const {
  if (layout == kStep) return batched ? Shape{{p.B, features}, 2} : Shape{{features}, 1};
  if (!batched) return {{p.T, features}, 2};
  return layout == kBatchFirst ? Shape{{p.B, p.T, features}, 3} : Shape{{p.T, p.B, features}, 3};
}

Call::Shape Call::state() const {
  if (layout == kStep) return rows(p.H);
  return batched ? Shape{{p.D, p.B, p.H}, 3} : Shape{{p.D, p.H}, 2};
}

Sequence Call::sequence(const TensorView& view) const {
  if (layout == kStep) return {view.data, 0, batched ? view.stride(0) : 0};
  if (!batched) return {view.data, view.stride(0), 0};
  return layout == kBatchFirst ? Sequence{view.data, view.stride(1), view.stride(0)}
                               : Sequence{view.data, view.stride(0), view.stride(1)};
}

// Copies between a sequence and rows [T, B, F] without gaps.
void copy_sequence(const Problem& p, const Sequence& from, char* to, int64_t row_bytes) {
  for (int64_t t = 0; t < p.T; t++)
    for (int64_t b = 0; b < p.B; b++, to += row_bytes)
      __builtin_memcpy(to, static_cast<char*>(from.data) + (t * from.t + b * from.b) * number_bytes(p.dtype),
                       size_t(row_bytes));
}

py::object Call::run(bool trains, int threads, int group_size) {
  TensorView out, h_n, c_n, kept;
  const Shape output_shape = rows(p.D * p.H), state_shape = state();
  const py::object output = empty(output_shape.size, output_shape.dims, p.dtype, out);
  py::object hidden, cells, saved;
  if (layout == kStep)
    h_n = out;
  else
    hidden = empty(state_shape.size, state_shape.dims, p.dtype, h_n);
  if (has_c()) cells = empty(state_shape.size, state_shape.dims, p.dtype, c_n);
  if (trains) {
    saved = empty_bytes(saved_bytes() + output_bytes(), kept);
    p.workspace = kept.data;
  }
  p.y = sequence(out);
  for (int d = 0; d < p.D; d++) {
    const int64_t offset = d * p.B * p.H * number_bytes(p.dtype);
    p.direction[d].h_n = h_n.data + offset;
    p.direction[d].c_n = c_n.data ? c_n.data + offset : nullptr;
  }
  if (threads != kAsked) {
    py::gil_scoped_release release;
    forward(p, nullptr, threads, group_size);
    // A copy: users may change theirs in place, `relu_(output)`.
    if (trains) copy_sequence(p, p.y, kept.data + saved_bytes(), p.D * p.H * number_bytes(p.dtype));
  }
  py::object found[4];
  size_t count = 0;
  for (const py::object& each : {output, hidden, cells, saved})
    if (each) found[count++] = each;
  py::tuple results(count);
  for (size_t i = 0; i < count; i++) results[i] = found[i];
  return results;
}

py::object Call::gradients(PyObject* const* grads, Py_ssize_t count, PyObject* kept, PyObject* needs,
                           int threads, int group_size) {
  TensorView saved, g_y, g_h_n, g_c_n, d_x, d_state[2], d_weight[2 * kWeights];
  const Py_ssize_t states = has_c() ? 2 : 1, outputs = layout == kStep ? 0 : 1;
  if (count != outputs + states || !tensors.view(kept, saved)) return py::none();
  if (saved.dtype >= 0 || !saved.has_shape({saved_bytes() + output_bytes()})) return py::none();
  const auto read = [&](PyObject* tensor, TensorView& view, const Shape& shape, bool rows) {
    if (tensor == Py_None) return true;
    return (rows ? tensors.view_rows(tensor, view) : tensors.view_contiguous(tensor, view)) &&
           view.dtype == p.dtype && shape.is_of(view);
  };
  if (outputs && !read(grads[0], g_y, rows(p.D * p.H), true)) return py::none();
  if (!read(grads[outputs], g_h_n, state(), false)) return py::none();
  if (states == 2 && !read(grads[outputs + 1], g_c_n, state(), false)) return py::none();

  const int total = 3 + int(p.D) * kWeights;
  py::object found[3 + 2 * kWeights];
  const auto wanted = [&](int i) { return PyTuple_GET_ITEM(needs, i) == Py_True; };
  bool any_weight = false;
  for (int i = 3; i < total; i++) any_weight |= wanted(i);
  const TensorView* like[] = {&input, &h0, &c0};
  TensorView* to[] = {&d_x, &d_state[0], &d_state[1]};
  for (int i = 0; i < total; i++) {  // the kernels compute the gradients of all weights or of none
    const TensorView& source = i < 3 ? *like[i] : weight[i - 3];
    if (!source.data || !(i < 3 ? wanted(i) : any_weight)) continue;
    TensorView& view = i < 3 ? *to[i] : d_weight[i - 3];
    found[i] = empty(source.shape, source.dims, p.dtype, view);
  }
  p.workspace = saved.data;
  p.y = {saved.data + saved_bytes(), p.B * p.D * p.H, p.D * p.H};  // [T, B, D*H]
  if (g_y.data) p.g_y = sequence(g_y);
  if (d_x.data) p.d_x = sequence(d_x);
  for (int d = 0; d < p.D; d++) {
    Direction& w = p.direction[d];
    const int64_t offset = d * p.B * p.H * number_bytes(p.dtype);
    const auto at = [&](const TensorView& view) { return view.data ? view.data + offset : nullptr; };
    w.g_h_n = at(g_h_n), w.g_c_n = at(g_c_n), w.d_h0 = at(d_state[0]), w.d_c0 = at(d_state[1]);
    void** fields[] = {&w.d_w_ih, &w.d_w_hh, &w.d_b_ih, &w.d_b_hh};
    for (int i = 0; i < kWeights; i++) *fields[i] = d_weight[d * kWeights + i].data;
  }
  {
    py::gil_scoped_release release;
    if (d_x.data && p.D == 2)  // two directions add up
      __builtin_memset(d_x.data, 0, size_t(p.N * p.I * number_bytes(p.dtype)));
    backward(p, nullptr, threads, group_size);
  }
  py::tuple results(total);
  for (int i = 0; i < total; i++) results[i] = wanted(i) && found[i] ? found[i] : py::none();
  return results;
}

// ---- the functions of the module. METH_FASTCALL: what pybind11 makes of arguments takes longer than a
// kernel.

template <class Body>
PyObject* guarded(Body body) {
  try {
    return body().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

int integer(PyObject* value) {
  const long number = PyLong_AsLong(value);
  if (number == -1 && PyErr_Occurred()) throw py::error_already_set();
  return int(number);
}

// recurrent_call(record, cell, layout, threads, group_size, input, states, *weights): results, or why not.
// `record(options, input, h0, c0, *weights)` is called where autograd records.
PyObject* call(PyObject*, PyObject* const* args, Py_ssize_t count) {
  constexpr int kTensors = 7, kMost = 3 + 2 * kWeights;
  return guarded([&]() -> py::object {
    if (count < kTensors || count - kTensors > 2 * kWeights)
      return declined("the weights are not those of a layer");
    const int cell = integer(args[1]), layout = integer(args[2]);
    // Room in front for the options of `record`.
    PyObject* all[1 + kMost] = {nullptr, args[5], Py_None, Py_None};
    PyObject** tensors = all + 1;
    PyObject* states = args[6];
    if (states != Py_None) {
      const bool pair = PyTuple_Check(states) || PyList_Check(states);
      if (cell < 0 || cell >= kCellKinds || pair != kCells[cell].has_c ||
          (pair && PySequence_Fast_GET_SIZE(states) != 2))
        return declined("the states are not those of this cell");
      tensors[1] = pair ? PySequence_Fast_GET_ITEM(states, 0) : states;
      if (pair) tensors[2] = PySequence_Fast_GET_ITEM(states, 1);
    }
    const Py_ssize_t total = 3 + count - kTensors;
    for (Py_ssize_t i = 3; i < total; i++) tensors[i] = args[kTensors + i - 3];
    Call found;
    if (!unwatched()) return declined(kWatched);
    if (const Refusal why = found.read(cell, layout, tensors, total)) return declined(why);
    const int threads = integer(args[3]);
    bool records = false;
    if (threads != kAsked && grad_enabled())
      for (Py_ssize_t i = 0; i < total && !records; i++)
        records = tensors[i] != Py_None && requires_grad(tensors[i]);
    if (!records) return found.run(false, threads, integer(args[4]));
    const py::tuple options = py::make_tuple(cell, layout);
    all[0] = options.ptr();
    return py::reinterpret_steal<py::object>(PyObject_Vectorcall(args[0], all, size_t(1 + total), nullptr));
  });
}

// recurrent_train(cell, layout, threads, group_size, tensors): results and what `gradients` takes, or None.
PyObject* train(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> py::object {
    if (count != 5 || !PyTuple_Check(args[4])) throw py::type_error("recurrent_train takes 5 arguments");
    Call found;
    if (found.read(integer(args[0]), integer(args[1]), PySequence_Fast_ITEMS(args[4]),
                   PyTuple_GET_SIZE(args[4])))
      return py::none();
    return found.run(true, integer(args[2]), integer(args[3]));
  });
}

// recurrent_gradients(cell, layout, threads, group_size, tensors, grads, kept, needs): gradients, or None.
PyObject* gradients(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> py::object {
    if (count != 8 || !PyTuple_Check(args[4]) || !PyTuple_Check(args[5]) || !PyTuple_Check(args[7]))
      throw py::type_error("recurrent_gradients takes 8 arguments");
    const Py_ssize_t total = PyTuple_GET_SIZE(args[4]);
    Call found;
    if (PyTuple_GET_SIZE(args[7]) != total || !unwatched() || grad_enabled() ||
        found.read(integer(args[0]), integer(args[1]), PySequence_Fast_ITEMS(args[4]), total))
      return py::none();
    return found.gradients(PySequence_Fast_ITEMS(args[5]), PyTuple_GET_SIZE(args[5]), args[6], args[7],
                           integer(args[2]), integer(args[3]));
  });
}

template <class Function>
PyCFunction as_method(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace

void bind_eager(py::module_& m) {
  static PyMethodDef methods[] = {{"recurrent_call", as_method(call), METH_FASTCALL, nullptr},
                                  {"recurrent_train", as_method(train), METH_FASTCALL, nullptr},
                                  {"recurrent_gradients", as_method(gradients), METH_FASTCALL, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  if (PyModule_AddFunctions(m.ptr(), methods)) throw py::error_already_set();
}

}  // namespace pyrnn::recurrent
