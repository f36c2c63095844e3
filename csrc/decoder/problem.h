// What one call of the decoder with attention computes: plain structs, no std types, read by every
// instruction set's code. For t = 1 .. T, with m the context and a the alignment:
//
//   gates   = x_t + W_ctx m_{t-1}  and  W_hh h_{t-1} + b_hh;  h_t, c_t = cell(gates)
//   q_t     = W_q h_t, or h_t
//   e_ts    = scale * q_t . k_s, or u . tanh(q_t + k_s + sum_j W_loc[:, j] a_{t-1, s + j - W / 2})
//   w_t     = softmax of e_t over s < source_length; 0 beyond
//   m_t     = sum_s w_ts v_s        a_t = w_t, or a_{t-1} + w_t if cumulative
//
// Dimension key: T steps, B batch, S source, G gates, H hidden, A features of queries and keys, V features of
// values, W width of the location filter (0: none).
#pragma once
#include "recurrent/problem.h"

namespace pyrnn::decoder {

using recurrent::Sequence;  // [T or S, B, features], any strides, the features contiguous

struct Problem {  // numbers are of the storage type where nothing else is said, tensors contiguous
  int64_t cell, dtype, T, B, S, H, A, V, W;
  int64_t cumulative;
  int64_t trains;  // a backward pass may follow: what a scope keeps packed of the weights is not read
  double scale;
  const int64_t *source_lengths, *lengths;    // [B] or null: all S, all T
  Sequence x, keys, values;                   // [T, B, G*H], [S, B, A], [S, B, V]
  const void *h_0, *c_0, *context_0;          // [B, H], [B, H] for an LSTM, [B, V]
  const void *weight_hh, *bias_hh;            // [G*H, H], [G*H] or null
  const void* weight_context;                 // [G*H, V], or null: the cell does not see the context
  const void* weight_query;                   // [A, H], or null: q is h
  const void* score_weight;                   // u [A], or null: the score is a dot product
  const void *weight_location, *alignment_0;  // [A, W] or null; [B, S] or null for zeros
  void *output, *context, *weights;           // [T, B, H], [T, B, V], [T, B, S]; where lengths end, the
                                              // caller's zeros stay
  void *h_n, *c_n, *alignment_n;              // [B, H], [B, H] for an LSTM, [B, S]
  // What training keeps, in A (float or double); null in inference, and where there is none:
  void* gates;    // [T, B, kSaved, Hp], Hp = H rounded up to recurrent::kWorkspaceAlign
  void* queries;  // [T, B, A], of weight_query

  // Backward only. Gradients of the results in, null: zeros
  const void *g_output, *g_context, *g_weights, *g_h_n, *g_c_n, *g_alignment_n;
  // Gradients out, shaped as their tensors, null: not wanted
  void *d_x, *d_h_0, *d_c_0, *d_context_0, *d_keys, *d_values, *d_weight_hh, *d_bias_hh, *d_weight_context;
  void *d_weight_query, *d_score_weight, *d_weight_location, *d_alignment_0;
};

// Rows are those of the batch by decreasing length, tokens the rows that live at each step, step after step.
struct Plan {
  int threads;
  const void* packed;                // the cell's weights, where a scope keeps them packed; else null
  int64_t steps;                     // of the longest row
  int64_t tokens;                    // of all steps
  const int64_t* batch;              // [B] of each row its index into the batch
  const int64_t* active;             // [T] rows that are longer than t: always the first ones
  const int64_t* first;              // [T] token of row 0
  const int64_t *token_t, *token_b;  // [tokens] step, and index into the batch
  Flag* flags;                       // [threads]
};

// The cell as a recurrent layer whose input is the context. N is that of one step: how a product is made must
// not depend on how many steps are made at once.
inline recurrent::Problem as_layer(const Problem& p) {
  recurrent::Problem layer{};
  layer.cell = int(p.cell), layer.dtype = int(p.dtype);
  layer.T = p.T, layer.B = p.B, layer.N = p.B, layer.D = 1;
  layer.I = p.weight_context ? p.V : 0, layer.H = layer.P = p.H;
  layer.direction[0].w_ih = p.weight_context;
  layer.direction[0].w_hh = p.weight_hh;
  layer.direction[0].b_hh = p.bias_hh;
  return layer;
}

// One cell, storage type and instruction set.
struct Kernel {
  size_t (*forward_bytes)(const Problem&, const Plan&);
  void (*forward)(const Problem&, const Plan&, char* scratch, int thread);
  size_t (*backward_bytes)(const Problem&, const Plan&);
  void (*backward)(const Problem&, const Plan&, char* scratch, int thread);
};

}  // namespace pyrnn::decoder
