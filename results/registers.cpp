// What the selective scan computes for each element, with nothing read or written: decay, state and output of 16 states.
#include "vector.h"

// `first` and `more` make the steps, that nothing can be computed before.
extern "C" float in_registers(int64_t positions, float first, float more) {
    constexpr int STATES = 16;
    vec h[STATES], A[STATES], step = splat(first), total{};
    for (int n = 0; n < STATES; n++) h[n] = splat(1.f + n), A[n] = splat(-0.01f - 0.1f * n);
    for (int64_t i = 0; i < positions; i++) {
        vec y{};
#pragma GCC unroll 16
        for (int n = 0; n < STATES; n++) {
            h[n] = power_of_two(step * A[n]) * h[n] + step * float(n);
            y += h[n] * float(n + 1);
        }
        total += y;
        step += more;
    }
    return sum(total);
}

extern "C" int64_t in_registers_elements() { return 16 * LANES; }  // of one position
