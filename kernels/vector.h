// Vectors of floats as wide as the processor's, in the extension that GCC and Clang share, with the functions a Mamba needs.
// Compile without -ffast-math: NaN and infinity must pass through.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX512DQ__
#include <immintrin.h>
#endif

#if defined(__AVX512DQ__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

struct bfloat16 {
    uint16_t bits;
};

// A (batch, length, width) tensor whose rows are contiguous; strides in elements.
struct Rows {
    void* data;
    int64_t batch, row;

    template <class T>
    T* at(int64_t b, int64_t l) const {
        return static_cast<T*>(data) + b * batch + l * row;
    }
};

static inline vec splat(float value) { return vec{} + value; }

static inline float to_float(float value) { return value; }

static inline float to_float(bfloat16 value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

// A whole vector, known to the compiler, or only `count` elements.
template <size_t SIZE>
static inline void copy(void* to, const void* from, int count) {
    if (count == LANES)
        memcpy(to, from, SIZE * LANES);
    else
        memcpy(to, from, SIZE * count);
}

// The first `count` elements at `from`, zeros after them.
template <class T>
static inline vec load(const T* from, int count = LANES) {
    if constexpr (std::is_same_v<T, float>) {
        vec value{};
        copy<sizeof(T)>(&value, from, count);
        return value;
    } else {
        halves bits{};
        copy<sizeof(T)>(&bits, from, count);
        return (vec)(__builtin_convertvector(bits, words) << 16);
    }
}

template <class T>
static inline void store(T* to, vec value, int count = LANES) {
    if constexpr (std::is_same_v<T, float>) {
        copy<sizeof(T)>(to, &value, count);
    } else {
        const words bits = (words)value;
        const words even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // round half to even
        const halves rounded = __builtin_convertvector(value == value ? even : words{} + 0x7fc0, halves);
        copy<sizeof(T)>(to, &rounded, count);
    }
}

static inline float sum(vec value) {
    float lanes[LANES];
    memcpy(lanes, &value, sizeof lanes);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

constexpr float LOG2_E = 1.44269504f, LN_2 = 0.69314718f;

// 2^f for f in [-1/2, 1/2]: the minimax polynomial for relative error (3.9e-9) that is exact at 0, because a long scan
// multiplies thousands of values near 1.
static inline vec power_near_one(vec f) {
    vec p = 1.546973197e-4f * f + 1.341000097e-3f;
    p = p * f + 9.618030783e-3f;
    p = p * f + 5.550297314e-2f;
    p = p * f + 2.402265108e-1f;
    p = p * f + 6.931472254e-1f;
    return p * f + 1.f;
}

// 2^t within 1 ulp, 0 for -infinity, infinity above 128, NaN for NaN.
static inline vec power_of_two(vec t) {
#ifdef __AVX512DQ__
    const vec f = (vec)_mm512_reduce_ps((__m512)t, 8);  // t less the nearest whole number, 0 for infinity
    return (vec)_mm512_scalef_ps((__m512)power_near_one(f), (__m512)(t - f));
#else
    t = t < -127.f ? splat(-127.f) : t;
    t = t > 128.f ? splat(128.f) : t;
    constexpr float shift = 12582912.f + 127.f;  // 1.5 x 2^23: the sum's low bits hold round(t) + 127
    const vec shifted = t + shift;
    return power_near_one(t - (shifted - shift)) * (vec)((ints)shifted << 23);
#endif
}

static inline vec exponential(vec x) { return power_of_two(x * LOG2_E); }

static inline vec sigmoid(vec x) { return 1.f / (1.f + exponential(-x)); }

// log(1 + y) for y >= 0: log(1 + y) = k ln 2 + 2 artanh(f / (2 + f)) with (1 + y) / 2^k - 1 = f in [-0.3, 0.42].
static inline vec log_plus_one(vec y) {
    const ints one_half = ints{} + 0x3f3504f3;  // sqrt(1/2)
    const vec w = 1.f + y;
    const ints k = ((ints)w - one_half) >> 23;
    const vec f = k == 0 ? y : (vec)((ints)w - (k << 23)) - 1.f;  // y itself keeps the digits that 1 + y lost
    const vec s = f / (2.f + f), s2 = s * s;
    const vec series = 1.f + s2 * (0.33333333f + s2 * (0.2f + s2 * (0.14285714f + s2 * 0.11111111f)));
    return 2.f * s * series + __builtin_convertvector(k, vec) * LN_2;
}

// torch's softplus, which is the identity above 20.
static inline vec softplus(vec x) {
    const vec curved = log_plus_one(exponential(x));
    return x > 20.f ? x : x == x ? curved : x;
}
