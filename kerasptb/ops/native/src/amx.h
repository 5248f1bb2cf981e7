// Matrix products on AMX tiles: bfloat16 operands, float32 sums.
//
// A float32 operand becomes kParts bfloat16 numbers. kParts = 1 is plain bfloat16, rounded to nearest. kParts = 2 keeps
// what that rounding lost as a second number (x = high + low, 16 bits of it in all) and a product is then
// high high + high low + low high: "bfloat16x3". The parts of an operand are equal arrays, `low` elements apart.
//
// A tile is 16 rows of 64 bytes. For C = A B, summing over k:
//   a tile of A: 16 rows of 32 consecutive k, rows any distance apart          ("rows")
//   a tile of B: 16 pairs of consecutive k, each 16 columns of two elements    ("paired": B[2i, c], B[2i + 1, c])
// Paired tiles lie one after the other, 512 elements each.
#pragma once

#include "simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

typedef uint16_t bfloat16;
typedef __m512i Bfloat16x32;

constexpr int kTileRows = 16;      // rows of A and of C, columns of B and of C
constexpr int kTileDepth = 32;     // k of one tile product
constexpr int kTileSize = 512;     // elements of a tile of A or B
constexpr int kBlock = 32;         // two tiles side by side: what sizes are padded to

KERASPTB_INLINE int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }
KERASPTB_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
KERASPTB_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
// Lanes of the vector at `position` that lie before `end`.
KERASPTB_INLINE int64_t lanes_before(int64_t position, int64_t end) {
  return larger(0, smaller(kLanes, end - position));
}

// The distance of rows of `size` bfloat16: at multiples of 1 KB they would push each other out of the L1 cache.
KERASPTB_INLINE int64_t spread(int64_t size) { return size % 512 == 0 ? size + 32 : size; }

// ---- bfloat16 ----

// 16 of `first`, then 16 of `second`.
KERASPTB_INLINE Bfloat16x32 round_to_bfloat16(Float first, Float second) {
  return reinterpret_cast<Bfloat16x32>(_mm512_cvtne2ps_pbh(second, first));
}
KERASPTB_INLINE __m256i first_half(Bfloat16x32 x) { return _mm512_castsi512_si256(x); }
KERASPTB_INLINE __m256i second_half(Bfloat16x32 x) { return _mm512_extracti64x4_epi64(x, 1); }
KERASPTB_INLINE Bfloat16x32 join(__m256i first, __m256i second) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}
KERASPTB_INLINE Float widen(__m256i x) {
  return reinterpret_cast<Float>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
KERASPTB_INLINE __m256i load_bfloat16x16(const bfloat16* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
KERASPTB_INLINE void store(bfloat16* p, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
KERASPTB_INLINE void store(bfloat16* p, Bfloat16x32 x) { _mm512_storeu_si512(p, x); }

// The parts of two vectors side by side.
template <int kParts>
struct Parts {
  Bfloat16x32 part[kParts];
};
template <int kParts>
KERASPTB_INLINE Parts<kParts> split_in_parts(Float first, Float second) {
  Parts<kParts> parts;
  parts.part[0] = round_to_bfloat16(first, second);
  if (kParts == 2)
    parts.part[kParts - 1] = round_to_bfloat16(first - widen(first_half(parts.part[0])),
                                               second - widen(second_half(parts.part[0])));
  return parts;
}
// One number.
template <int kParts>
KERASPTB_INLINE void store_in_parts(bfloat16* p, int64_t low, float x) {
  for (int part = 0; part < kParts; ++part) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    p[part * low] = static_cast<bfloat16>(bits >> 16);
    float rounded;
    memcpy(&rounded, &bits, 4);
    x -= rounded;
  }
}

// Elements 0, 16, 1, 17, ...: two rows of 16 become the pairs of one row of a paired tile.
KERASPTB_INLINE Bfloat16x32 pair_rows(Bfloat16x32 x) {
  const Bfloat16x32 order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                             23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, x);
}

// Transposes 16 x 16 elements of 32 bits (which may be pairs of bfloat16).
KERASPTB_INLINE void transpose(__m512i (&rows)[16]) {
  __m512i a[16], b[16];
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
    a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
    a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88);
    rows[8 + i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd);
    rows[4 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88);
    rows[12 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd);
  }
}

// ---- tiles ----

// The tiles of a thread, all of 16 rows of 64 bytes, for as long as it lives. Afterwards the tiles are free again, as
// other libraries that use them expect.
class Tiles {
 public:
  KERASPTB_INLINE_METHOD Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int i = 0; i < 8; ++i) {
      shape.row_bytes[i] = 64;
      shape.rows[i] = kTileRows;
    }
    asm volatile("ldtilecfg %0" ::"m"(shape) : "memory");
  }
  KERASPTB_INLINE_METHOD ~Tiles() { asm volatile("tilerelease" ::: "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// The compiler does not know what tile instructions read and write, hence the memory clobbers. Strides in bytes.
template <int kTile>
KERASPTB_INLINE void load_tile(const void* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
KERASPTB_INLINE void store_tile(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
KERASPTB_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
// C += A B
template <int kC, int kA, int kB>
KERASPTB_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
}

// Where an operand's tiles are.
struct Operand {
  const bfloat16* data;  // the first tile
  int64_t next;          // elements to the next 16 rows (A) or columns (B)
  int64_t stride;        // bytes between the rows of a tile
  int64_t step;          // elements to the next 32 k
  int64_t low;           // elements to the low parts
};
KERASPTB_INLINE Operand rows_operand(const bfloat16* data, int64_t row_size, int64_t low) {
  return {data, kTileRows * row_size, row_size * int64_t{sizeof(bfloat16)}, kTileDepth, low};
}
// Columns of `depth` k, each 16 of them being depth / 32 paired tiles in a row.
KERASPTB_INLINE Operand paired_operand(const bfloat16* data, int64_t depth, int64_t low) {
  return {data, kTileRows * depth, 64, kTileSize, low};
}

// Tiles 0 .. 3 hold C, a block of 32 x 32 (0 1 / 2 3) or up to four tiles side by side; 4 .. 7 hold A and B.
KERASPTB_INLINE void zero_block() {
  zero_tile<0>();
  zero_tile<1>();
  zero_tile<2>();
  zero_tile<3>();
}

KERASPTB_INLINE void load_columns(const Operand& b, int64_t part) {
  load_tile<6>(b.data + part, b.stride);
  load_tile<7>(b.data + part + b.next, b.stride);
}
KERASPTB_INLINE void load_rows(const Operand& a, int64_t part) {
  load_tile<4>(a.data + part, a.stride);
  load_tile<5>(a.data + part + a.next, a.stride);
}
KERASPTB_INLINE void multiply_2x2() {
  multiply_tiles<0, 4, 6>();
  multiply_tiles<1, 4, 7>();
  multiply_tiles<2, 5, 6>();
  multiply_tiles<3, 5, 7>();
}

// C (32 x 32) += A (32 x 32 steps) B (32 steps x 32)
template <int kParts>
KERASPTB_INLINE void accumulate_32x32(int64_t steps, Operand a, Operand b) {
  for (int64_t i = 0; i < steps; ++i) {
    load_rows(a, 0);
    load_columns(b, 0);
    multiply_2x2();
    if (kParts == 2) {
      load_columns(b, b.low);
      multiply_2x2();
      load_rows(a, a.low);
      load_columns(b, 0);
      multiply_2x2();
    }
    a.data += a.step;
    b.data += b.step;
  }
}

// C_c (16 x 16) += A (16 x 32 steps) B_c (32 steps x 16) for the columns c = 0 .. kColumnTiles - 1 (2 or 4).
template <int kParts, int kColumn>
KERASPTB_INLINE void accumulate_column(const Operand& b) {
  load_tile<6>(b.data + kColumn * b.next, b.stride);
  multiply_tiles<kColumn, 4, 6>();
  if (kParts == 2) {
    multiply_tiles<kColumn, 5, 6>();
    load_tile<7>(b.data + b.low + kColumn * b.next, b.stride);
    multiply_tiles<kColumn, 4, 7>();
  }
}
template <int kParts, int kColumnTiles>
KERASPTB_INLINE void accumulate_16_rows(int64_t steps, Operand a, Operand b) {
  for (int64_t i = 0; i < steps; ++i) {
    load_tile<4>(a.data, a.stride);
    if (kParts == 2) load_tile<5>(a.data + a.low, a.stride);
    accumulate_column<kParts, 0>(b);
    accumulate_column<kParts, 1>(b);
    if (kColumnTiles == 4) {
      accumulate_column<kParts, 2>(b);
      accumulate_column<kParts, 3>(b);
    }
    a.data += a.step;
    b.data += b.step;
  }
}

KERASPTB_INLINE void store_32x32(float* c, int64_t row_size) {
  const int64_t stride = row_size * int64_t{sizeof(float)};
  store_tile<0>(c, stride);
  store_tile<1>(c + kTileRows, stride);
  store_tile<2>(c + kTileRows * row_size, stride);
  store_tile<3>(c + kTileRows * row_size + kTileRows, stride);
}
KERASPTB_INLINE void load_32x32(const float* c, int64_t row_size) {
  const int64_t stride = row_size * int64_t{sizeof(float)};
  load_tile<0>(c, stride);
  load_tile<1>(c + kTileRows, stride);
  load_tile<2>(c + kTileRows * row_size, stride);
  load_tile<3>(c + kTileRows * row_size + kTileRows, stride);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
