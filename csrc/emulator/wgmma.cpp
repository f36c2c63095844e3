// Products of warpgroups: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". Each warp makes its 16
// rows of the sums as soon as it issues a product, or, in half of the seeds, only when it waits, from the
// shared memory of that moment. Until the wait its registers hold a NaN of their own, and AddressSanitizer
// reports who touches them. Registers of A are taken when the product is issued: a change of them before the
// wait is not seen.
#include <string.h>

#include <algorithm>

#include "emulator/asan.h"
#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

constexpr uint32_t kInFlight = 0x7fffdead;

struct ProductPacket {
  Product product;
  Site site;
  const void* pc;  // in the kernel's code
};

// ---- operands in shared memory: "Matrix Descriptor Format", "Shared Memory Matrix Layout" ------------

struct Operand {
  uint32_t start, leading, stride;
  bool mn;  // rows of A, columns of B are contiguous; else k
  // Of element i (row of A, column of B) at k, before the swizzle.
  uint32_t address(int i, int k) const {
    return mn ? start + uint32_t(i / 64) * leading + uint32_t(k / 8) * stride +
                    uint32_t(k % 8 * 128 + i % 64 * 2)
              : start + uint32_t(i / 8) * stride + uint32_t(i % 8 * 128 + k * 2);
  }
};

Operand decode(const char* name, uint64_t descriptor, bool mn, int extent, Site site) {
  const Operand operand{uint32_t(descriptor & 0x3fff) << 4, uint32_t(descriptor >> 16 & 0x3fff) << 4,
                        uint32_t(descriptor >> 32 & 0x3fff) << 4, mn};
  auto refuse = [&](const char* why) {
    fail("%s:%d: wgmma: the descriptor %#llx of %s %s", site.file, site.line, (unsigned long long)descriptor,
         name, why);
  };
  if (descriptor & 0x3ff1c000c000c000ull) refuse("has bits that mean nothing");
  if (descriptor >> 62 != 1) refuse("has a swizzle other than 128 bytes, which alone is emulated");
  if (descriptor >> 49 & 7) refuse("has a base offset: begin the tile at a multiple of 1024 bytes");
  if (operand.start & 0x380) refuse("begins inside of 1024 bytes, where its base offset cannot be 0");
  if (operand.start & (mn ? 0x7f : 0)) refuse("begins inside of 64 contiguous elements");
  if ((operand.start & 0x7f) > 96) refuse("reaches past the end of a row of 128 bytes");
  if (operand.stride == 0 || operand.stride % 1024)
    refuse("has a stride that is not a multiple of 1024 bytes");
  if (mn && extent > 64 && (operand.leading == 0 || operand.leading % 1024))
    refuse("has a leading offset that is not a multiple of 1024 bytes");
  return operand;
}

struct Reader {
  const char* name;
  Operand operand;
  Site site;
  const char* at(int i, int k) const {
    const uint32_t address = operand.address(i, k);
    const char* p = from_shared_address(address ^ (address >> 7 & 7) << 4, 2);
    if (!p) fail("%s:%d: wgmma: %s leaves the dynamic shared memory", site.file, site.line, name);
    return p;
  }
};

float widen(uint16_t bits, bool bf16) {
  if (!bf16) return __half2float(__half(__half_raw{bits}));
  const uint32_t word = uint32_t(bits) << 16;
  float x;
  memcpy(&x, &word, sizeof x);
  return x;
}

float element(const Reader& reader, int i, int k, bool bf16) {
  uint16_t bits;
  memcpy(&bits, reader.at(i, k), sizeof bits);
  return widen(bits, bf16);
}

void note_reads(const Reader& reader, int first, int last, const void* pc) {
  const bool own = quiet;
  quiet = false;
  const bool mn = reader.operand.mn;  // 16 bytes lie together after the swizzle
  for (int i = first; i < last; i += mn ? 8 : 1)
    for (int k = 0; k < 16; k += mn ? 1 : 8)
      race::access(reader.at(i, k), 16, {false, false, false, pc, true});
  quiet = own;
}

// ---- one warp's part of a product -----------------------------------------------------------------------

Reader reader_of_a(const WarpProduct& the) {
  return {"A", decode("A", the.product.a, the.product.a_by_rows, 64, the.site), the.site};
}
Reader reader_of_b(const WarpProduct& the) {
  return {"B", decode("B", the.product.b, the.product.b_by_columns, the.product.n, the.site), the.site};
}

void note_operands(const WarpProduct& the, int warp) {
  if (!the.product.a_in_registers) note_reads(reader_of_a(the), 16 * warp, 16 * warp + 16, the.pc);
  note_reads(reader_of_b(the), 0, the.product.n, the.pc);
}

// The device sums in an order of its own and cuts low bits; here the sum is that of doubles, rounded once.
void compute(WarpProduct& the, int warp) {
  const Product& product = the.product;
  static float a[16][16], b[256][16];
  if (product.a_in_registers) {
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < 8; i++) {
        const uint32_t word = the.a_registers[lane][i / 2];
        a[lane / 4 + i / 2 % 2 * 8][lane % 4 * 2 + i / 4 * 8 + i % 2] =
            widen(uint16_t(i % 2 ? word >> 16 : word), product.bf16);
      }
  } else {
    const Reader reader = reader_of_a(the);
    for (int row = 0; row < 16; row++)
      for (int k = 0; k < 16; k++) a[row][k] = element(reader, 16 * warp + row, k, product.bf16);
  }
  const Reader reader = reader_of_b(the);
  for (int column = 0; column < product.n; column++)
    for (int k = 0; k < 16; k++) b[column][k] = element(reader, column, k, product.bf16);
  const int each = product.n / 2;
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < each; i++) {
      const float *row = a[lane / 4 + i / 2 % 2 * 8], *column = b[i / 4 * 8 + lane % 4 * 2 + i % 2];
      float& value = the.sums->values[size_t(lane * each + i)];
      double sum = product.accumulate ? double(value) : 0.0;
      for (int k = 0; k < 16; k++) sum += double(row[k]) * double(column[k]);
      value = float(sum);
    }
  the.computed = true;
}

// ---- sums in flight ---------------------------------------------------------------------------------------

std::shared_ptr<Sums> sums_of(Warp& warp, Lanes& lanes, int n) {
  auto registers = [&](int lane) { return static_cast<ProductPacket*>(lanes.packet[lane])->product.sums; };
  for (auto& sums : warp.products.sums) {
    const bool same = sums->registers[0] == registers(0) && sums->n == n;
    if (same) return sums;
    if (registers(0) < sums->registers[0] + sums->n / 2 && sums->registers[0] < registers(0) + n / 2)
      fail("%s:%d: wgmma on registers of a product of another shape in flight", lanes.site.file,
           lanes.site.line);
  }
  auto sums = std::make_shared<Sums>();
  const size_t each = size_t(n / 2);
  sums->n = n;
  sums->users = 0;
  sums->values.resize(32 * each);
  for (int lane = 0; lane < 32; lane++) {
    float* own = sums->registers[lane] = registers(lane);
    std::copy_n(own, each, &sums->values[size_t(lane) * each]);
    for (size_t i = 0; i < each; i++) memcpy(own + i, &kInFlight, sizeof kInFlight);
    ASAN_POISON_MEMORY_REGION(own, each * sizeof(float));
  }
  warp.products.sums.push_back(sums);
  return sums;
}

void hand_back(const Sums& sums, Site site) {
  const size_t each = size_t(sums.n / 2);
  for (int lane = 0; lane < 32; lane++) {
    float* own = sums.registers[lane];
    ASAN_UNPOISON_MEMORY_REGION(own, each * sizeof(float));
    for (size_t i = 0; i < each; i++)
      if (memcmp(own + i, &kInFlight, sizeof kInFlight) != 0)
        fail("%s:%d: lane %d wrote to sums of a product in flight, before its wgmma.wait_group", site.file,
             site.line, lane);
    std::copy_n(&sums.values[size_t(lane) * each], each, own);
  }
}

// ---- what the lanes of a warp do together -----------------------------------------------------------------

bool alike(const Product& a, const Product& b) {
  return a.n == b.n && a.bf16 == b.bf16 && a.accumulate == b.accumulate &&
         a.a_in_registers == b.a_in_registers && a.a_by_rows == b.a_by_rows &&
         a.b_by_columns == b.b_by_columns && a.a == b.a && a.b == b.b;
}

void note_issue(Block& block, Warp& warp, int number, const Product& product, Site site) {
  if (size_t(number / 4 * 4 + 4) > block.warps.size())
    fail("%s:%d: wgmma in warp %d, whose warpgroup is not whole", site.file, site.line, number);
  auto& issued = block.async.issued[size_t(number / 4)];
  const size_t turn = size_t(warp.products.issued++);
  if (turn == issued.size()) {
    issued.push_back({product, site});
  } else if (const auto& other = issued[turn];
             !alike(other.product, product) || other.site.line != site.line) {
    fail("%s:%d: wgmma: another warp of the warpgroup issued a different product at %s:%d", site.file,
         site.line, other.site.file, other.site.line);
  }
}

void issue(Lanes& lanes) {
  const auto& first = *static_cast<ProductPacket*>(lanes.packet[0]);
  const Site site = first.site;
  Block& block = *current->block;
  Warp& warp = *current->warp;
  const int number = current->linear / 32;
  for (int lane = 1; lane < 32; lane++)
    if (!alike(first.product, static_cast<ProductPacket*>(lanes.packet[lane])->product))
      fail("%s:%d: wgmma: lanes of a warp differ in descriptors or scale", site.file, site.line);
  if (!warp.products.fenced)
    fail("%s:%d: wgmma without a wgmma.fence since the last wgmma.wait_group", site.file, site.line);
  note_issue(block, warp, number, first.product, site);
  WarpProduct the{first.product, {}, sums_of(warp, lanes, first.product.n), false, site, first.pc};
  for (int lane = 0; lane < 32 && first.product.a_in_registers; lane++)
    memcpy(the.a_registers[lane], static_cast<ProductPacket*>(lanes.packet[lane])->product.a_registers,
           sizeof the.a_registers[lane]);
  the.sums->users++;
  note_operands(the, number % 4);
  if (!launch_state.copies_land_late) compute(the, number % 4);
  warp.products.open.push_back(std::move(the));
}

void commit(Lanes&) {
  WarpProducts& products = current->warp->products;
  products.groups.push_back(std::move(products.open));
  products.open.clear();
}

void raise_fence(Lanes&) { current->warp->products.fenced = true; }

void wait_for_groups(Lanes& lanes) {
  WarpProducts& products = current->warp->products;
  const int warp = current->linear / 32 % 4, newest = *static_cast<const int*>(lanes.packet[0]);
  if (newest == 0 && !products.open.empty())
    fail("%s:%d: wgmma.wait_group, but the product of %s:%d is in no group: wgmma.commit_group is missing",
         lanes.site.file, lanes.site.line, products.open[0].site.file, products.open[0].site.line);
  while (products.groups.size() > size_t(newest)) {
    for (WarpProduct& the : products.groups.front()) {
      note_operands(the, warp);
      if (!the.computed) compute(the, warp);
      if (--the.sums->users > 0) continue;
      hand_back(*the.sums, the.site);
      products.sums.erase(std::find(products.sums.begin(), products.sums.end(), the.sums));
    }
    products.groups.pop_front();
  }
  products.fenced = false;
}

}  // namespace

void wgmma(const Product& product, Site site) {
  ProductPacket packet{product, site, __builtin_return_address(0)};
  collective("wgmma.mma_async", issue, ~0u, &packet, site);
}
void wgmma_fence(Site site) { collective("wgmma.fence", raise_fence, ~0u, nullptr, site); }
void wgmma_commit(Site site) { collective("wgmma.commit_group", commit, ~0u, nullptr, site); }
void wgmma_wait(int newest, Site site) {
  if (launch_state.copies_land_late)
    spin(site);  // the others go as far as they can before the products are made
  collective("wgmma.wait_group", wait_for_groups, ~0u, &newest, site);
}

}  // namespace emulator
}  // namespace pyrnn
