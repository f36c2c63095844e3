// What one launch of the CUDA recurrence computes: a plain struct, passed to the kernels by value.
//
// It is the recurrence alone. Before it, a library product turns the input into gx = x W_ih^T for all
// tokens; after the backward pass, library products turn the gates' gradients into those of weights and
// input.
//
//   forward, step s:   pre = gx[t] + b + W_hh h      h, c = cell(pre)
//   backward, step s:  d_h = g_y[t] + W_hh^T d_gates     d_gates = cell's derivatives of (d_h, d_c)
//
// Both multiply a matrix that stays the same by a vector of the batch that the step before has made. A block
// owns kUnits units of one direction for one slice of the batch: kUnits * G rows of W_hh forward, kUnits rows
// of W_hh^T backward. The vectors go through the exchange buffer, which all blocks of a direction and slice
// read whole.
//
// Dimension key: T time, B batch, H hidden, D directions, K terms of a sum in the product (H forward, G*H
// backward), S storage type, A accumulation type (float; double for double).
#pragma once
#include "recurrent/problem.h"

namespace pyrnn::recurrent::cuda {

constexpr int kUnits = 16;  // units of a block: the rows of one tensor-core tile
constexpr int kWarps = 8;   // of a block; each takes every kWarps-th part of K
constexpr int kBlockThreads = 32 * kWarps;
constexpr int kTileRows = 8;  // batch rows of one tensor-core tile

enum Engine { kChoose, kPersistent, kStep, kPersistentStreamed, kCluster };

struct Direction {
  const void* w_hh;               // S [G*H, H]
  const void *b_ih, *b_hh;        // S [G*H] or null
  const void *h0, *c0;            // S [B, H] or null: zeros
  const void *first_h, *first_c;  // backward: gradients of h_n, c_n: S [B, H] or null
  void *last_h, *last_c;          // S [B, H]; forward: h_n, c_n; backward: d_h0, d_c0, or null
  const void* gx;                 // A [rows, G*H] of the segment's tokens, torch's gate order, without biases
  int64_t gx_row0;                // token of its first row
  const void* gh;                 // replay: A [rows, G*H] = h_prev W_hh^T of the same tokens
  void* saved;                    // A [rows, kSaved, Hp], Hp = H rounded up to 16; null in inference
  int64_t saved_row0;
  void* d_gates;  // S [rows, kSlots * H]
  int64_t d_gates_row0;
  int64_t s0, s1;  // the steps of the pass that this launch makes
};

struct Recurrence {
  int64_t T, B, H, D;
  int64_t checkpoint_every;    // k > 0: c before each k-th step goes to `workspace`
  const int64_t* lengths;      // [B] or null: all T; clamped to [0, T] where it is read
  const int64_t* step_offset;  // [T] packed rows: the first token of each step; else null
  const uint8_t* reset;        // [N] by token, not 0 where a new sequence starts; null: nowhere
  void* workspace;             // A [D, ceil(T/k), B, Hp] or null
  Sequence y, cells, g_y, g_cells;
  Direction direction[2];
  // How the work is laid out (plan.h).
  int64_t unit_blocks, slices, rows;  // `rows` of the batch a slice, a multiple of the kernel's
  int64_t k_slot;                     // terms of K in one gate: H rounded up to the product's block
  bool resident;                      // the block's weights fit into shared memory
  bool grid_sync;                     // blocks wait for each other after each step, within the launch
  void* weights;                      // Element [D, unit_blocks, K, kUnits * M], packed
  void* exchange;                     // Element [D, slices, 2, K, rows], packed
  void* carry;                        // A [D, unit_blocks, slices * rows, kUnits]
  unsigned* arrivals;                 // [D, slices] blocks that have finished a step, counted over all steps
};

}  // namespace pyrnn::recurrent::cuda
