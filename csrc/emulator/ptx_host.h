// What the wrappers of csrc/common/ptx.h mean, for the emulator.
#pragma once
#include "emulator/cuda_names.h"

namespace pyrnn {
namespace ptx {

using emulator::Site;

// ---- products of a warp ---------------------------------------------------------------------------

struct MmaPacket {
  const uint32_t *a, *b;
  float* d;
};

inline float half_of(uint32_t word, int which, __nv_bfloat16) {
  return __uint_as_float((which ? word >> 16 : word & 0xffff) << 16);
}
inline float half_of(uint32_t word, int which, __half) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(which ? word >> 16 : word & 0xffff)));
}

// The device sums in an order of its own and cuts low bits; here the sum is that of doubles, rounded once.
template <class S>
void combine_mma(emulator::Lanes& lanes) {
  float a[16][16], b[8][16];  // b by columns
  for (int lane = 0; lane < 32; lane++) {
    const auto& own = *static_cast<const MmaPacket*>(lanes.packet[lane]);
    const int group = lane / 4, column = lane % 4 * 2;
    for (int h = 0; h < 2; h++) {
      for (int i = 0; i < 4; i++) a[group + i % 2 * 8][column + i / 2 * 8 + h] = half_of(own.a[i], h, S{});
      for (int i = 0; i < 2; i++) b[group][column + i * 8 + h] = half_of(own.b[i], h, S{});
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    const auto& own = *static_cast<const MmaPacket*>(lanes.packet[lane]);
    for (int i = 0; i < 4; i++) {
      const float *row = a[lane / 4 + i / 2 * 8], *column = b[lane % 4 * 2 + i % 2];
      double sum = own.d[i];
      for (int k = 0; k < 16; k++) sum += double(row[k]) * column[k];
      own.d[i] = float(sum);
    }
  }
}

template <class S>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], S,
                  Site site = Site::here()) {
  MmaPacket packet{a, b, d};
  emulator::collective("mma.m16n8k16", combine_mma<S>, ~0u, &packet, site);
}

struct LoadMatrixPacket {
  uint16_t row[8];
  uint32_t* out;
};

template <bool kTransposed>
void combine_load_matrix(emulator::Lanes& lanes) {
  auto at = [&](int matrix, int row, int column) {
    return uint32_t(static_cast<const LoadMatrixPacket*>(lanes.packet[matrix * 8 + row])->row[column]);
  };
  for (int lane = 0; lane < 32; lane++)
    for (int matrix = 0; matrix < 4; matrix++) {
      const int g = lane / 4, c = lane % 4 * 2;
      const uint32_t low = kTransposed ? at(matrix, c, g) : at(matrix, g, c),
                     high = kTransposed ? at(matrix, c + 1, g) : at(matrix, g, c + 1);
      static_cast<LoadMatrixPacket*>(lanes.packet[lane])->out[matrix] = low | high << 16;
    }
}

template <bool kTransposed>
void load_matrix(uint32_t* d, const void* row, Site site) {
  emulator::require_shared("ldmatrix", row, 16, site);
  LoadMatrixPacket packet;
  for (int i = 0; i < 8; i++) packet.row[i] = static_cast<const uint16_t*>(row)[i];
  packet.out = d;
  emulator::collective(kTransposed ? "ldmatrix.trans" : "ldmatrix", combine_load_matrix<kTransposed>, ~0u,
                       &packet, site);
}

inline void ldmatrix_x4(uint32_t (&d)[4], const void* row, Site site = Site::here()) {
  load_matrix<false>(d, row, site);
}
inline void ldmatrix_x4_trans(uint32_t (&d)[4], const void* row, Site site = Site::here()) {
  load_matrix<true>(d, row, site);
}

// ---- registers ---------------------------------------------------------------------------------------

inline int opaque(int x) { return x; }

// ---- functions of a float ----------------------------------------------------------------------------

inline float exp2_approx(float x) {
  const float y = exp2f(x);
  return y < 1.17549435e-38f ? 0.0f : y;
}

// ---- flags in global memory ------------------------------------------------------------------------

inline unsigned ld_relaxed(const unsigned* p, Site site = Site::here()) {
  emulator::spin(site);  // before the load: who polls must let the others run
  emulator::Atomic atomic(p, sizeof *p, true, false, emulator::Order::relaxed);
  return *p;
}
inline unsigned ld_acquire(const unsigned* p, Site site = Site::here()) {
  emulator::spin(site);  // before the load: who polls must let the others run
  emulator::Atomic atomic(p, sizeof *p, true, false, emulator::Order::acquire);
  return *p;
}
inline void st_release(unsigned* p, unsigned value) {
  emulator::Atomic atomic(p, sizeof *p, false, true, emulator::Order::release);
  *p = value;
}
inline void red_add_release(unsigned* p, unsigned value) {
  emulator::Atomic atomic(p, sizeof *p, true, true, emulator::Order::release);
  *p += value;
}

// ---- copies ------------------------------------------------------------------------------------------

inline void cp_async16(void* shared, const void* global, bool valid, Site site = Site::here()) {
  emulator::copy_async(shared, global, 16, valid, site);
}
inline void cp_async_commit() { emulator::copy_commit(); }
template <int N>
void cp_async_wait() {
  emulator::copy_wait(N);
}

inline void trap(Site site = Site::here()) { emulator::fail("%s:%d: trap", site.file, site.line); }

// ---- clusters ----------------------------------------------------------------------------------------

inline unsigned cluster_rank() { return emulator::cluster_rank(); }
inline unsigned cluster_size() { return emulator::cluster_size(); }
inline void cluster_arrive_release(Site site = Site::here()) { emulator::cluster_arrive(site); }
inline void cluster_wait_acquire(Site site = Site::here()) { emulator::cluster_wait(site); }
template <class T>
T* map_shared_rank(T* shared, unsigned rank, Site site = Site::here()) {
  return static_cast<T*>(
      emulator::map_shared_rank(const_cast<void*>(static_cast<const void*>(shared)), rank, site));
}

}  // namespace ptx
}  // namespace pyrnn
