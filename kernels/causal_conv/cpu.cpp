// The causal convolution with SiLU for processors: channels side by side in vectors, rows of channels one after another.

#include <algorithm>

#include "vector.h"

namespace {

constexpr int CHUNK = 32, AHEAD = 16, MAX_WIDTH = 8;

struct Conv {
    int64_t batch, length, channels, width;
    Rows x, y;                   // y is the output
    const float *weight, *bias;  // weight transposed: (width, channels), its last row for the position itself
};

struct Gradients {
    Rows y, x;             // y is given, x is written
    float *weight, *bias;  // one part per image: (batch, width, channels), (batch, channels)
};

int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

// bias + sum over tau of weight[tau] x[l - width + 1 + tau]; before the start there are zeros. WIDTH is 0 where the width
// is not known at compile time.
template <class T, int WIDTH>
vec before_silu(const Conv& c, int64_t b, int64_t l, int64_t e, int lanes) {
    const int width = WIDTH ? WIDTH : c.width;
    vec sum = load(c.bias + e, lanes);
    for (int tau = l < width ? width - 1 - l : 0; tau < width; tau++)
        sum += load(c.weight + tau * c.channels + e, lanes) * load(c.x.at<T>(b, l - width + 1 + tau) + e, lanes);
    return sum;
}

template <class T, int WIDTH>
void forward(const Conv& c, int threads) {
    const int64_t chunks = pieces(c.length, CHUNK);
#pragma omp parallel for num_threads(threads)
    for (int64_t task = 0; task < c.batch * chunks; task++) {
        const int64_t b = task / chunks, start = task % chunks * CHUNK, end = std::min(start + CHUNK, c.length);
        for (int64_t l = start; l < end; l++)
            for (int64_t e = 0; e < c.channels; e += LANES) {
                const int lanes = std::min<int64_t>(LANES, c.channels - e);
                const vec sum = before_silu<T, WIDTH>(c, b, l, e, lanes);
                store(c.y.at<T>(b, l) + e, sum * sigmoid(sum), lanes);
            }
    }
}

// One vector of channels of one image. The gradient before SiLU at position l adds to the inputs l - width + 1 ... l; these
// wait in a window until nothing more can add to them.
template <class T, int WIDTH>
void backward_block(const Conv& c, const Gradients& g, int64_t b, int64_t e, int lanes) {
    const int width = WIDTH ? WIDTH : c.width;
    vec weight[MAX_WIDTH], gweight[MAX_WIDTH] = {}, window[MAX_WIDTH] = {}, gbias{};
    for (int tau = 0; tau < width; tau++) weight[tau] = load(c.weight + tau * c.channels + e, lanes);
    for (int64_t l = 0; l < c.length + width - 1; l++) {
        const int64_t first = l - width + 1;  // the window's first position
        if (l < c.length) {
            for (const Rows* rows : {&c.x, &g.y, &g.x}) __builtin_prefetch(rows->at<T>(b, l + AHEAD) + e);
            const vec sum = before_silu<T, WIDTH>(c, b, l, e, lanes), open = sigmoid(sum);
            const vec gsum = load(g.y.at<T>(b, l) + e, lanes) * open * (1.f + sum * (1.f - open));
            gbias += gsum;
            for (int tau = 0; tau < width; tau++) {
                window[tau] += weight[tau] * gsum;
                if (first + tau >= 0) gweight[tau] += load(c.x.at<T>(b, first + tau) + e, lanes) * gsum;
            }
        }
        if (first >= 0) store(g.x.at<T>(b, first) + e, window[0], lanes);
        for (int tau = 0; tau < width; tau++) window[tau] = tau + 1 < width ? window[tau + 1] : vec{};
    }
    for (int tau = 0; tau < width; tau++) store(g.weight + (b * width + tau) * c.channels + e, gweight[tau], lanes);
    store(g.bias + b * c.channels + e, gbias, lanes);
}

template <class T, int WIDTH>
void backward(const Conv& c, const Gradients& g, int threads) {
    const int64_t blocks = pieces(c.channels, LANES);
#pragma omp parallel for num_threads(threads)
    for (int64_t task = 0; task < c.batch * blocks; task++) {
        const int64_t e = task % blocks * LANES;
        backward_block<T, WIDTH>(c, g, task / blocks, e, std::min<int64_t>(LANES, c.channels - e));
    }
}

template <class T>
void either(const Conv& c, const Gradients* g, int threads) {
    if (g)
        c.width == 4 ? backward<T, 4>(c, *g, threads) : backward<T, 0>(c, *g, threads);
    else
        c.width == 4 ? forward<T, 4>(c, threads) : forward<T, 0>(c, threads);
}

}  // namespace

extern "C" {
int64_t causal_conv_max_width() { return MAX_WIDTH; }
void causal_conv_forward_float32(const Conv* c, int threads) { either<float>(*c, nullptr, threads); }
void causal_conv_forward_bfloat16(const Conv* c, int threads) { either<bfloat16>(*c, nullptr, threads); }
void causal_conv_backward_float32(const Conv* c, const Gradients* g, int threads) { either<float>(*c, g, threads); }
void causal_conv_backward_bfloat16(const Conv* c, const Gradients* g, int threads) { either<bfloat16>(*c, g, threads); }
}
