// What one call computes, and how its work is split: plain structs, no std types, read by every instruction
// set's code.
//
// Dimension key: T time, B batch, I input, H hidden, P output (H without projection), D directions, N tokens.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/dtype.h"
#include "common/flag.h"

namespace pyrnn::recurrent {

// A sequence tensor [T, B, F] of any strides (in elements, last dimension contiguous), or packed rows [N, F]
// when the problem has step offsets; then `b` is the stride of a row.
struct Sequence {
  void* data;
  int64_t t, b;
};

struct Direction {    // weights and states of one direction; S is the storage type
  const void* w_ih;   // S [G*H, I]
  const void* w_hh;   // S [G*H, P]
  const void* b_ih;   // S [G*H] or null
  const void* b_hh;   // S [G*H] or null
  const void* w_hr;   // S [P, H] or null: no projection
  const void* h0;     // S [B, P] or null: zeros
  const void* c0;     // S [B, H] or null: zeros
  void* h_n;          // S [B, P]
  void* c_n;          // S [B, H], LSTM only
  const void* g_h_n;  // gradients of h_n and c_n, or null
  const void* g_c_n;
  void *d_w_ih, *d_w_hh, *d_b_ih, *d_b_hh, *d_w_hr;  // gradients to write; null: not wanted
  void *d_h0, *d_c0;
};

struct Problem {
  int cell, dtype;  // codes
  int64_t T, B, I, H, P, D, N;
  const int64_t* step_offset;  // [T] packed input: first row of each step; else null
  const int64_t* lengths;      // [B]; null: all T
  const uint8_t* reset;        // [N] by token, time first: not 0 where a new sequence starts; null: nowhere
  int64_t checkpoint_every;    // 0: the workspace keeps all gates; k: only c, before each k-th step
  void* workspace;             // A (float or double), or null in inference:
                               //   [D, N, kSaved, Hp] or [D, ceil(T/k), B, Hp], Hp = H rounded up to 16
  Sequence x, y, cells;  // input [.., I], output [.., D*P], all cell states [.., D*H] (data may be null)
  Sequence g_y, g_cells, d_x;  // gradients of y and cells in (data may be null), of x out (null: not wanted)
  Direction direction[2];
  const void* packed[2];  // of the forward pass: what Kernel::pack made of a direction's weights, or null
};

constexpr int64_t kWorkspaceAlign = 16;

// Some rows of the batch in one direction: one thread group computes all their time steps.
struct BatchSlice {
  int direction;
  int64_t rows;
  const int64_t* batch;   // [rows] index into the batch, lengths not increasing
  const int64_t* active;  // [T] rows that are longer than t: always the first ones
  int64_t steps;          // the longest length among the rows
};

struct Plan {
  int threads;              // = groups * group_size
  int group_size;           // threads of a group, which divide a slice's units: one barrier a step; 1: none
  int groups;               // thread groups; group g takes slices g, g + groups, ...
  int slices;               // of all directions
  const BatchSlice* slice;  // [slices]
  const int64_t* last;      // [B] length of each sequence
  Flag* all_flags;          // [threads] barrier of all threads
  Flag* group_flags;        // [threads] barriers of the groups
};

// One cell, storage type and instruction set.
struct Kernel {
  size_t (*packed_bytes)(const Problem&);
  void (*pack)(const Problem&, int direction, char* memory);  // 64-byte aligned
  size_t (*forward_bytes)(const Problem&, const Plan&);
  void (*forward)(const Problem&, const Plan&, char* scratch, int thread);
  size_t (*backward_bytes)(const Problem&, const Plan&);
  void (*backward)(const Problem&, const Plan&, char* scratch, int thread);
};

}  // namespace pyrnn::recurrent
