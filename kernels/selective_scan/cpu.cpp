// The selective scan for processors: channels side by side in vectors, positions one after another, states in registers.
// A task is one image and a group of channels; it goes through the positions in chunks, so that what it reads stays in cache.

#include <algorithm>
#include <vector>

#include "vector.h"

namespace {

constexpr int CHUNK = 32, GROUP = 64, MAX_STATES = 256;

struct Scan {
    int64_t batch, length, channels, states;
    Rows u, delta, B, C, z, y;  // no data in z where there is no gate
    const float *A, *D, *bias;  // A transposed: (states, channels)
};

struct Gradients {
    Rows y, u, delta, z;  // y is given, the others are written
    float *A, *D, *bias;  // one part per image: (batch, states, channels), (batch, channels), (batch, channels)
    float *B, *C;         // one part per group of channels: (batch, groups, length, states)
    float* starts;        // room for the states before each chunk: (batch, chunks, states, channels)
};

int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

// One vector of channels, from e on, over `count` positions, from `start` on, of image b.
struct Place {
    int64_t b, start, e;
    int count, lanes;

    template <class T>
    vec read(const Rows& rows, int i) const {
        return load(rows.at<T>(b, start + i) + e, lanes);
    }

    template <class T>
    void write(const Rows& rows, int i, vec value) const {
        store(rows.at<T>(b, start + i) + e, value, lanes);
    }
};

// B and C of one chunk as floats, (CHUNK, states) each.
struct Selection {
    std::vector<float> B, C;

    explicit Selection(const Scan& s) : B(CHUNK * s.states), C(CHUNK * s.states) {}

    template <class T>
    void read(const Scan& s, int64_t b, int64_t start, int count) {
        for (int i = 0; i < count; i++) {
            const T *rowB = s.B.at<T>(b, start + i), *rowC = s.C.at<T>(b, start + i);
            for (int n = 0; n < s.states; n++) {
                B[i * s.states + n] = to_float(rowB[n]);
                C[i * s.states + n] = to_float(rowC[n]);
            }
        }
    }
};

template <class T>
void read_inputs(const Scan& s, const Place& p, vec* u, vec* raw_step) {
    const vec bias = load(s.bias + p.e, p.lanes);
    for (int i = 0; i < p.count; i++) {
        u[i] = p.read<T>(s.u, i);
        raw_step[i] = p.read<T>(s.delta, i) + bias;
    }
}

// Moves the states in `kept` over one chunk and writes its gated outputs. STATES is 0 where it is not known here.
template <class T, int STATES>
void advance(const Scan& s, const Place& p, const Selection& select, vec* kept) {
    const int N = STATES ? STATES : s.states;
    const float *B = select.B.data(), *C = select.C.data();
    vec u[CHUNK], step[CHUNK], y[CHUNK], h[STATES ? STATES : MAX_STATES], A[STATES ? STATES : MAX_STATES];
    read_inputs<T>(s, p, u, step);
    for (int i = 0; i < p.count; i++) step[i] = softplus(step[i]);
    for (int n = 0; n < N; n++) h[n] = kept[n], A[n] = load(s.A + n * s.channels + p.e, p.lanes);
    const vec D = load(s.D + p.e, p.lanes);
    for (int i = 0; i < p.count; i++) {
        for (const Rows* rows : {&s.u, &s.delta, &s.z, &s.y})  // of the next chunk: rows lie pages apart
            __builtin_prefetch(rows->at<T>(p.b, p.start + CHUNK + i) + p.e);
        const vec scaled = step[i] * LOG2_E, drive = step[i] * u[i];
        vec sum = D * u[i];
#pragma GCC unroll 16
        for (int n = 0; n < N; n++) {
            h[n] = power_of_two(scaled * A[n]) * h[n] + drive * B[i * N + n];
            sum += h[n] * C[i * N + n];
        }
        y[i] = sum;
    }
    for (int n = 0; n < N; n++) kept[n] = h[n];
    if (!s.y.data) return;
    for (int i = 0; i < p.count; i++) {
        if (s.z.data) {
            const vec z = p.read<T>(s.z, i);
            y[i] *= z * sigmoid(z);
        }
        p.write<T>(s.y, i, y[i]);
    }
}

template <class T, int STATES>
void forward_task(const Scan& s, int64_t b, int64_t first, int64_t end, float* starts) {
    std::vector<vec> states(pieces(end - first, LANES) * s.states);
    Selection select(s);
    for (int64_t start = 0; start < s.length; start += CHUNK) {
        const int count = std::min<int64_t>(CHUNK, s.length - start);
        select.read<T>(s, b, start, count);
        vec* kept = states.data();
        for (int64_t e = first; e < end; e += LANES, kept += s.states) {
            const int lanes = std::min<int64_t>(LANES, end - e);
            for (int n = 0; starts && n < s.states; n++)
                store(starts + (start / CHUNK * s.states + n) * s.channels + e, kept[n], lanes);
            advance<T, STATES>(s, {b, start, e, count, lanes}, select, kept);
        }
    }
}

// What goes back through one vector of channels, from the last chunk to the first.
struct Carried {
    std::vector<vec> state, A;
    vec D{}, bias{};

    explicit Carried(int64_t states) : state(states), A(states) {}
};

// The decays, the states before and after each position, and the gradients of B and C by lane, of one chunk.
struct Scratch {
    std::vector<vec> decay, h, B, C;

    explicit Scratch(int64_t states) : decay(CHUNK * states), h((CHUNK + 1) * states), B(CHUNK * states), C(B) {}
};

// With g the gradient of the state h_l = a_l h_{l-1} + (step u) B: g_l = gy C_l + a_{l+1} g_{l+1}; the rest is products.
template <class T, int STATES>
void retreat(const Scan& s, const Gradients& g, const Place& p, const Selection& select, Scratch& own, Carried& back) {
    const int N = STATES ? STATES : s.states;
    const float *B = select.B.data(), *C = select.C.data();
    vec *decay = own.decay.data(), *h = own.h.data(), *gB = own.B.data(), *gC = own.C.data(), *gA = back.A.data();
    vec u[CHUNK], raw[CHUNK], step[CHUNK], y[CHUNK], gy[CHUNK];
    vec A[STATES ? STATES : MAX_STATES], carry[STATES ? STATES : MAX_STATES];
    read_inputs<T>(s, p, u, raw);
    for (int i = 0; i < p.count; i++) step[i] = softplus(raw[i]);
    for (int n = 0; n < N; n++) carry[n] = back.state[n], A[n] = load(s.A + n * s.channels + p.e, p.lanes);
    const vec D = load(s.D + p.e, p.lanes);
    for (int i = 0; i < p.count; i++) {
        const vec scaled = step[i] * LOG2_E, drive = step[i] * u[i];
        vec sum = D * u[i];
#pragma GCC unroll 16
        for (int n = 0; n < N; n++) {
            const int at = i * N + n;
            decay[at] = power_of_two(scaled * A[n]);
            h[at + N] = decay[at] * h[at] + drive * B[at];
            sum += h[at + N] * C[at];
        }
        y[i] = sum;
    }
    for (int i = 0; i < p.count; i++) {
        gy[i] = p.read<T>(g.y, i);
        if (!s.z.data) continue;
        const vec z = p.read<T>(s.z, i), open = sigmoid(z);
        p.write<T>(g.z, i, gy[i] * y[i] * open * (1.f + z * (1.f - open)));
        gy[i] *= z * open;
    }
    for (int i = p.count - 1; i >= 0; i--) {
        const vec drive = step[i] * u[i];
        vec gdrive{}, gstep{};
#pragma GCC unroll 16
        for (int n = 0; n < N; n++) {
            const int at = i * N + n;
            const vec gh = carry[n] + gy[i] * C[at];
            gC[at] += gy[i] * h[at + N];
            gB[at] += gh * drive;
            gdrive += gh * B[at];
            carry[n] = gh * decay[at];
            const vec gexponent = carry[n] * h[at];
            gstep += gexponent * A[n];
            gA[n] += gexponent * step[i];
        }
        const vec graw = (gstep + gdrive * u[i]) * (raw[i] > 20.f ? splat(1.f) : sigmoid(raw[i]));
        p.write<T>(g.u, i, gy[i] * D + gdrive * step[i]);
        p.write<T>(g.delta, i, graw);
        back.D += gy[i] * u[i];
        back.bias += graw;
    }
    for (int n = 0; n < N; n++) back.state[n] = carry[n];
}

template <class T, int STATES>
void backward_task(const Scan& s, const Gradients& g, int64_t b, int64_t group) {
    const int64_t first = group * GROUP, end = std::min(first + GROUP, s.channels), N = s.states;
    const int64_t groups = pieces(s.channels, GROUP), chunks = pieces(s.length, CHUNK);
    float* starts = g.starts + b * chunks * N * s.channels;
    forward_task<T, STATES>(s, b, first, end, starts);

    Selection select(s);
    Scratch own(N);
    std::vector<Carried> carried(pieces(end - first, LANES), Carried(N));
    for (int64_t start = (chunks - 1) * CHUNK; start >= 0; start -= CHUNK) {
        const int count = std::min<int64_t>(CHUNK, s.length - start);
        select.read<T>(s, b, start, count);
        std::fill(own.B.begin(), own.B.end(), vec{});
        std::fill(own.C.begin(), own.C.end(), vec{});
        for (int64_t e = first; e < end; e += LANES) {
            const int lanes = std::min<int64_t>(LANES, end - e);
            for (int n = 0; n < N; n++)
                own.h[n] = load(starts + (start / CHUNK * N + n) * s.channels + e, lanes);
            retreat<T, STATES>(s, g, {b, start, e, count, lanes}, select, own, carried[(e - first) / LANES]);
        }
        const int64_t row = ((b * groups + group) * s.length + start) * N;
        for (int at = 0; at < count * N; at++) g.B[row + at] = sum(own.B[at]), g.C[row + at] = sum(own.C[at]);
    }
    for (int64_t e = first; e < end; e += LANES) {
        const Carried& back = carried[(e - first) / LANES];
        const int lanes = std::min<int64_t>(LANES, end - e);
        for (int n = 0; n < N; n++) store(g.A + (b * N + n) * s.channels + e, back.A[n], lanes);
        store(g.D + b * s.channels + e, back.D, lanes);
        store(g.bias + b * s.channels + e, back.bias, lanes);
    }
}

// Calls task(image, group of channels) for all of them, on `threads` threads.
template <class Task>
void in_parallel(const Scan& s, int64_t group, int threads, Task task) {
    const int64_t groups = pieces(s.channels, group);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < s.batch * groups; i++) task(i / groups, i % groups);
}

template <class T>
void forward(const Scan& s, int threads) {
    int64_t group = 4 * GROUP;  // wide ones touch fewer pages; there must be enough for the threads
    while (group > GROUP && s.batch * pieces(s.channels, group) < 2 * threads) group /= 2;
    in_parallel(s, group, threads, [&](int64_t b, int64_t i) {
        const int64_t first = i * group, end = std::min(first + group, s.channels);
        s.states == 16 ? forward_task<T, 16>(s, b, first, end, nullptr) : forward_task<T, 0>(s, b, first, end, nullptr);
    });
}

template <class T>
void backward(const Scan& s, const Gradients& g, int threads) {
    in_parallel(s, GROUP, threads, [&](int64_t b, int64_t group) {
        s.states == 16 ? backward_task<T, 16>(s, g, b, group) : backward_task<T, 0>(s, g, b, group);
    });
}

}  // namespace

extern "C" {
int64_t selective_scan_max_states() { return MAX_STATES; }
int64_t selective_scan_chunk() { return CHUNK; }
int64_t selective_scan_group() { return GROUP; }
void selective_scan_forward_float32(const Scan* s, int threads) { forward<float>(*s, threads); }
void selective_scan_forward_bfloat16(const Scan* s, int threads) { forward<bfloat16>(*s, threads); }
void selective_scan_backward_float32(const Scan* s, const Gradients* g, int threads) { backward<float>(*s, *g, threads); }
void selective_scan_backward_bfloat16(const Scan* s, const Gradients* g, int threads) { backward<bfloat16>(*s, *g, threads); }
}
