// Products of a warpgroup: PTX ISA, "wgmma.mma_async". Included by ptx90.h.
//
// An instruction names each of its N / 2 sums a thread, and inline PTX knows operands only by number: the
// macros write these lists down.
#pragma once

namespace pyrnn {
namespace ptx {

#define PYRNN_SUMS8(i)                                                                        \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define PYRNN_SUMS32(i) PYRNN_SUMS8(i), PYRNN_SUMS8(i + 8), PYRNN_SUMS8(i + 16), PYRNN_SUMS8(i + 24)
#define PYRNN_SUMS_OF_64 PYRNN_SUMS32(0)
#define PYRNN_SUMS_OF_80 PYRNN_SUMS_OF_64, PYRNN_SUMS8(32)
#define PYRNN_SUMS_OF_96 PYRNN_SUMS_OF_80, PYRNN_SUMS8(40)
#define PYRNN_SUMS_OF_128 PYRNN_SUMS_OF_64, PYRNN_SUMS32(32)
#define PYRNN_SUMS_OF_256 PYRNN_SUMS_OF_128, PYRNN_SUMS32(64), PYRNN_SUMS32(96)

#define PYRNN_TEXT_OF_64                                                 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", "                                                                   \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PYRNN_TEXT_OF_80 \
  PYRNN_TEXT_OF_64       \
  ", "                   \
  "%32, %33, %34, %35, %36, %37, %38, %39"
#define PYRNN_TEXT_OF_96 \
  PYRNN_TEXT_OF_80       \
  ", "                   \
  "%40, %41, %42, %43, %44, %45, %46, %47"
#define PYRNN_TEXT_OF_128                                                          \
  PYRNN_TEXT_OF_64                                                                 \
  ", "                                                                             \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", "                                                                             \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PYRNN_TEXT_OF_256                                                                      \
  PYRNN_TEXT_OF_128                                                                            \
  ", "                                                                                         \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", "                                                                                         \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", "                                                                                         \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", "                                                                                         \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// d += a b, or d = a b where it does not accumulate: a [64, 16] by its rows, b [16, N], d [64, N]. Warp w of
// the four holds rows 16 w to 16 w + 15 of d: with g = lane / 4 and c = lane % 4 * 2,
//   d[4 j], d[4 j + 1]: row g, columns 8 j + c, 8 j + c + 1; d[4 j + 2], d[4 j + 3]: the same of row g + 8
// and a in registers as in mma_m16n8k16. Nothing of d is valid before wgmma_wait.
template <class S, int N, Major kA, Major kB>
struct Wgmma;

// The last seven are the numbers of the operands that follow the sums.
#define PYRNN_WGMMA(S, type, N, n0, n1, n2, n3, n4, n5, n6)                                                \
  template <Major kA, Major kB>                                                                            \
  struct Wgmma<S, N, kA, kB> {                                                                             \
    static __device__ __forceinline__ void multiply(float (&d)[N / 2], uint64_t a, uint64_t b,             \
                                                    bool accumulate) {                                     \
      PYRNN_ASM90("{\n.reg .pred p;\nsetp.ne.b32 p, %" #n2                                                 \
                  ", 0;\n"                                                                                 \
                  "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" PYRNN_TEXT_OF_##N   \
                  "}, %" #n0 ", %" #n1 ", p, 1, 1, %" #n3 ", %" #n4 ";\n}" : PYRNN_SUMS_OF_##N : "l"(a),   \
                  "l"(b), "r"(int(accumulate)), "n"(int(kA)), "n"(int(kB)));                               \
    }                                                                                                      \
    static __device__ __forceinline__ void multiply(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, \
                                                    bool accumulate) {                                     \
      PYRNN_ASM90("{\n.reg .pred p;\nsetp.ne.b32 p, %" #n5                                                 \
                  ", 0;\n"                                                                                 \
                  "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" PYRNN_TEXT_OF_##N   \
                  "}, {%" #n0 ", %" #n1 ", %" #n2 ", %" #n3 "}, %" #n4 ", p, 1, 1, %" #n6                  \
                  ";\n}" : PYRNN_SUMS_OF_##N : "r"(a[0]),                                                  \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)), "n"(int(kB)));            \
    }                                                                                                      \
  };
#define PYRNN_WGMMA_OF(N, ...)                       \
  PYRNN_WGMMA(__nv_bfloat16, "bf16", N, __VA_ARGS__) \
  PYRNN_WGMMA(__half, "f16", N, __VA_ARGS__)

PYRNN_WGMMA_OF(64, 32, 33, 34, 35, 36, 37, 38)
PYRNN_WGMMA_OF(80, 40, 41, 42, 43, 44, 45, 46)
PYRNN_WGMMA_OF(96, 48, 49, 50, 51, 52, 53, 54)
PYRNN_WGMMA_OF(128, 64, 65, 66, 67, 68, 69, 70)
PYRNN_WGMMA_OF(256, 128, 129, 130, 131, 132, 133, 134)

#undef PYRNN_WGMMA_OF
#undef PYRNN_WGMMA
#undef PYRNN_SUMS8
#undef PYRNN_SUMS32
#undef PYRNN_SUMS_OF_64
#undef PYRNN_SUMS_OF_80
#undef PYRNN_SUMS_OF_96
#undef PYRNN_SUMS_OF_128
#undef PYRNN_SUMS_OF_256
#undef PYRNN_TEXT_OF_64
#undef PYRNN_TEXT_OF_80
#undef PYRNN_TEXT_OF_96
#undef PYRNN_TEXT_OF_128
#undef PYRNN_TEXT_OF_256

// Both operands in shared memory, by their wgmma_descriptor.
template <class S, int N, Major kA = Major::k, Major kB = Major::k>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate = true) {
  Wgmma<S, N, kA, kB>::multiply(d, a, b, accumulate);
}
// a in registers, which stay as they are until wgmma_wait.
template <class S, int N, Major kB = Major::k>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,
                                      bool accumulate = true) {
  Wgmma<S, N, Major::k, kB>::multiply(d, a, b, accumulate);
}

}  // namespace ptx
}  // namespace pyrnn
