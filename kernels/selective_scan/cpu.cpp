// The selective scan for processors: channels side by side in vectors, positions one after another, states in registers.
// A task is one image and a group of channels; it goes through the positions in chunks, so that what it reads stays in cache.

#include <algorithm>
#include <memory>
#include <vector>

#include "vector.h"

namespace {

constexpr int CHUNK = 32, MAX_STATES = 256;

struct Scan {
    int64_t batch, length, channels, states, width;  // `width` channels are a group, but for what is left of them
    Rows u, delta, B, C, z, y;  // no data in z where there is no gate
    const float *A, *D, *bias;  // A: (channels, states)
};

struct Gradients {
    Rows y, u, delta, z;  // y is given, the others are written
    float *A, *D, *bias;  // one part per image: (batch, states, channels), (batch, channels), (batch, channels)
    float *B, *C;         // one part per group of channels: (batch, groups, length, states)
    float* starts;        // room for the states before each chunk: (batch, chunks, states, channels)
};

int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

// `count` positions, from `start` on, of channels `first` to `end` of image b.
struct Block {
    int64_t b, start, first, end;
    int count;
};

// A block turned round: one vector of channels after another, the positions of each side by side. Rows lie pages apart, so
// they are read and written whole, each fetched while the one before it is worked on.
class Turned {
    static constexpr int STRIDE = CHUNK + 1;  // an odd number of lines, so that vectors share no place in the cache
    std::unique_ptr<vec[]> data;  // not zeroed first

  public:
    explicit Turned(int64_t channels) : data(new vec[pieces(channels, LANES) * STRIDE]) {}

    vec* at(int64_t vector) { return data.get() + vector * STRIDE; }

    // `other` reads of `others` what it makes of each vector, its first channel and its lanes: two at once wait less.
    template <class T, class Made>
    void read(const Rows& rows, Turned& other, const Rows& others, const Block& k, Made made) {
        for (int i = 0; i < k.count; i++) {
            const T *row = rows.at<T>(k.b, k.start + i), *second = others.at<T>(k.b, k.start + i);
            vec *to = data.get() + i, *to_other = other.data.get() + i;
            for (int64_t e = k.first; e < k.end; e += LANES, to += STRIDE, to_other += STRIDE) {
                const int lanes = std::min<int64_t>(LANES, k.end - e);
                __builtin_prefetch(row + rows.row + e);
                __builtin_prefetch(second + others.row + e);
                *to = load(row + e, lanes);
                *to_other = made(load(second + e, lanes), e, lanes);
            }
        }
    }

    // Times SiLU of `gate`, where that has data.
    template <class T>
    void write(const Rows& rows, const Block& k, const Rows& gate = {}) const {
        for (int i = 0; i < k.count; i++) {
            T *row = rows.at<T>(k.b, k.start + i), *next = row + rows.row;
            const T* gates = gate.at<T>(k.b, k.start + i);
            const vec* from = data.get() + i;
            for (int64_t e = k.first; e < k.end; e += LANES, from += STRIDE) {
                const int lanes = std::min<int64_t>(LANES, k.end - e);
                vec value = *from;
                __builtin_prefetch(next + e, 1);
                if (gate.data) {
                    __builtin_prefetch(gates + gate.row + e);
                    const vec z = load(gates + e, lanes);
                    value *= z * sigmoid(z);
                }
                store(row + e, value, lanes);
            }
        }
    }
};

// One vector of channels, from e on, of a block.
struct Place {
    int64_t e;
    int lanes, count;

    Place(const Block& k, int64_t vector)
        : e(k.first + vector * LANES), lanes(std::min<int64_t>(LANES, k.end - e)), count(k.count) {}
};

// B and C of one chunk as floats, (CHUNK, states) each.
struct Selection {
    std::vector<float> B, C;

    explicit Selection(const Scan& s) : B(CHUNK * s.states), C(CHUNK * s.states) {}

    template <class T>
    void read(const Scan& s, const Block& k) {
        for (int i = 0; i < k.count; i++) {
            const T *rowB = s.B.at<T>(k.b, k.start + i), *rowC = s.C.at<T>(k.b, k.start + i);
            for (int n = 0; n < s.states; n++) {
                B[i * s.states + n] = to_float(rowB[n]);
                C[i * s.states + n] = to_float(rowC[n]);
            }
        }
    }
};

// A of the channels `first` to `end`: one vector of channels after another, the states of each side by side.
std::vector<vec> turned_decays(const Scan& s, int64_t first, int64_t end) {
    std::vector<vec> A(pieces(end - first, LANES) * s.states);
    for (int64_t e = first; e < end; e++) {
        const float* row = s.A + e * s.states;
        vec* to = &A[(e - first) / LANES * s.states];
        for (int n = 0; n < s.states; n++) to[n][(e - first) % LANES] = row[n];
    }
    return A;
}

// Moves the states in `kept` over the positions of a place and puts the outputs in u's. STATES is 0 where it is not known here.
template <int STATES>
void advance(
    const Scan& s, const Place& p, const Selection& select, const vec* decays, const vec* step, vec* u, vec* kept
) {
    const int N = STATES ? STATES : s.states;
    const float *B = select.B.data(), *C = select.C.data();
    vec h[STATES ? STATES : MAX_STATES], A[STATES ? STATES : MAX_STATES];
    for (int n = 0; n < N; n++) h[n] = kept[n], A[n] = decays[n];
    const vec D = load(s.D + p.e, p.lanes);
    for (int i = 0; i < p.count; i++) {
        const vec scaled = step[i] * LOG2_E, drive = step[i] * u[i];
        vec sum = D * u[i];
#pragma GCC unroll 16
        for (int n = 0; n < N; n++) {
            h[n] = power_of_two(scaled * A[n]) * h[n] + drive * B[i * N + n];
            sum += h[n] * C[i * N + n];
        }
        u[i] = sum;
    }
    for (int n = 0; n < N; n++) kept[n] = h[n];
}

// With `starts`, keeps the states before each chunk there, (chunks, states, channels), and writes no outputs.
template <class T, int STATES>
void forward_task(const Scan& s, int64_t b, int64_t first, int64_t end, float* starts) {
    const int64_t vectors = pieces(end - first, LANES);
    const std::vector<vec> A = turned_decays(s, first, end);
    std::vector<vec> states(vectors * s.states);
    Selection select(s);
    Turned u(end - first), step(end - first);
    for (int64_t start = 0; start < s.length; start += CHUNK) {
        const Block k{b, start, first, end, int(std::min<int64_t>(CHUNK, s.length - start))};
        select.read<T>(s, k);
        u.read<T>(s.u, step, s.delta, k, [&](vec raw, int64_t e, int lanes) {
            return softplus(raw + load(s.bias + e, lanes));
        });
        for (int64_t vector = 0; vector < vectors; vector++) {
            const Place p(k, vector);
            vec* kept = &states[vector * s.states];
            for (int n = 0; starts && n < s.states; n++)
                store(starts + (start / CHUNK * s.states + n) * s.channels + p.e, kept[n], p.lanes);
            advance<STATES>(s, p, select, &A[vector * s.states], step.at(vector), u.at(vector), kept);
        }
        if (!starts) u.write<T>(s.y, k, s.z);
    }
}

// What goes back through one vector of channels, from the last chunk to the first.
struct Carried {
    std::vector<vec> state, A;
    vec D{}, bias{};

    explicit Carried(int64_t states) : state(states), A(states) {}
};

// The gradients of B and C by lane, of one chunk: (states / BLOCK, CHUNK, BLOCK).
struct ByLane {
    std::vector<vec> B, C;

    explicit ByLane(int64_t states) : B(CHUNK * states), C(B) {}
};

// With g the gradient of the state h_l = a_l h_{l-1} + (step u) B: g_l = gy C_l + a_{l+1} g_{l+1}; the rest is products.
// BLOCK states at a time go there and back, so that their decays and states stay in the nearest cache. `before` are all
// states before the first position. The gradients of u, delta and z take their places.
template <int BLOCK>
void retreat(
    const Scan& s, const Place& p, const Selection& select, const vec* decays, const vec* before, vec* u, vec* delta,
    vec* z, vec* gy, ByLane& selected, Carried& back
) {
    const int N = s.states;
    vec raw[CHUNK], step[CHUNK], y[CHUNK], gdrive[CHUNK]{}, gstep[CHUNK]{};
    vec decay[CHUNK * BLOCK], h[(CHUNK + 1) * BLOCK];
    const vec D = load(s.D + p.e, p.lanes), bias = load(s.bias + p.e, p.lanes);
    for (int i = 0; i < p.count; i++) raw[i] = delta[i] + bias, step[i] = softplus(raw[i]), y[i] = D * u[i];
    for (int i = 0; s.z.data && i < p.count; i++) {
        const vec open = sigmoid(z[i]), gate = z[i] * open;
        z[i] = gy[i] * open * (1.f + z[i] - gate);
        gy[i] *= gate;
    }
    for (int first = 0; first < N; first += BLOCK) {
        const float *B = select.B.data() + first, *C = select.C.data() + first;
        vec *gB = &selected.B[first * CHUNK], *gC = &selected.C[first * CHUNK];
        vec A[BLOCK], carry[BLOCK], gA[BLOCK];
        for (int n = 0; n < BLOCK; n++) {
            A[n] = decays[first + n], h[n] = before[first + n];
            carry[n] = back.state[first + n], gA[n] = back.A[first + n];
        }
        for (int i = 0; i < p.count; i++) {
            const vec scaled = step[i] * LOG2_E, drive = step[i] * u[i], given = gy[i];
            vec sum = y[i];
            for (int n = 0; n < BLOCK; n++) {
                const int at = i * BLOCK + n;
                decay[at] = power_of_two(scaled * A[n]);
                h[at + BLOCK] = decay[at] * h[at] + drive * B[i * N + n];
                sum += h[at + BLOCK] * C[i * N + n];
                gC[at] += given * h[at + BLOCK];
            }
            y[i] = sum;
        }
        for (int i = p.count - 1; i >= 0; i--) {
            const vec drive = step[i] * u[i], given = gy[i], here = step[i];
            vec to_drive{}, to_step{};
            for (int n = 0; n < BLOCK; n++) {
                const int at = i * BLOCK + n;
                const vec gh = carry[n] + given * C[i * N + n];
                gB[at] += gh * drive;
                to_drive += gh * B[i * N + n];
                carry[n] = gh * decay[at];
                const vec gexponent = carry[n] * h[at];
                to_step += gexponent * A[n];
                gA[n] += gexponent * here;
            }
            gdrive[i] += to_drive, gstep[i] += to_step;
        }
        for (int n = 0; n < BLOCK; n++) back.state[first + n] = carry[n], back.A[first + n] = gA[n];
    }
    for (int i = 0; i < p.count; i++) {
        const vec graw = (gstep[i] + gdrive[i] * u[i]) * (raw[i] > 20.f ? splat(1.f) : sigmoid(raw[i]));
        back.D += gy[i] * u[i];
        back.bias += graw;
        if (s.z.data) z[i] *= y[i];
        u[i] = gy[i] * D + gdrive[i] * step[i];
        delta[i] = graw;
    }
}

template <class T, int STATES, int BLOCK>
void backward_task(const Scan& s, const Gradients& g, int64_t b, int64_t group, int64_t first, int64_t end) {
    const int64_t chunks = pieces(s.length, CHUNK), part = (b * pieces(s.channels, s.width) + group) * s.length * s.states;
    float *starts = g.starts + b * chunks * s.states * s.channels, *gB = g.B + part, *gC = g.C + part;
    forward_task<T, STATES>(s, b, first, end, starts);

    const int64_t N = s.states, vectors = pieces(end - first, LANES);
    const std::vector<vec> A = turned_decays(s, first, end);
    Selection select(s);
    ByLane selected(N);
    std::vector<vec> before(N);
    Turned u(end - first), delta(end - first), z(end - first), gy(end - first);
    std::vector<Carried> carried(vectors, Carried(N));
    for (int64_t start = (chunks - 1) * CHUNK; start >= 0; start -= CHUNK) {
        const Block k{b, start, first, end, int(std::min<int64_t>(CHUNK, s.length - start))};
        select.read<T>(s, k);
        const auto same = [](vec value, int64_t, int) { return value; };
        u.read<T>(s.u, delta, s.delta, k, same);
        gy.read<T>(g.y, z, s.z.data ? s.z : g.y, k, same);
        std::fill(selected.B.begin(), selected.B.end(), vec{});
        std::fill(selected.C.begin(), selected.C.end(), vec{});
        for (int64_t vector = 0; vector < vectors; vector++) {
            const Place p(k, vector);
            for (int n = 0; n < N; n++)
                before[n] = load(starts + (start / CHUNK * N + n) * s.channels + p.e, p.lanes);
            vec *at_u = u.at(vector), *at_delta = delta.at(vector), *at_z = z.at(vector), *at_gy = gy.at(vector);
            const vec* decays = &A[vector * N];
            retreat<BLOCK>(s, p, select, decays, before.data(), at_u, at_delta, at_z, at_gy, selected, carried[vector]);
        }
        u.write<T>(g.u, k);
        delta.write<T>(g.delta, k);
        if (s.z.data) z.write<T>(g.z, k);
        for (int i = 0; i < k.count; i++) {
            for (int n = 0; n < N; n++) {
                const int64_t from = (n / BLOCK * CHUNK + i) * BLOCK + n % BLOCK, to = (start + i) * N + n;
                gB[to] = sum(selected.B[from]), gC[to] = sum(selected.C[from]);
            }
        }
    }
    for (int64_t vector = 0; vector < vectors; vector++) {
        const Carried& back = carried[vector];
        const int64_t e = first + vector * LANES;
        const int lanes = std::min<int64_t>(LANES, end - e);
        for (int n = 0; n < N; n++) store(g.A + (b * N + n) * s.channels + e, back.A[n], lanes);
        store(g.D + b * s.channels + e, back.D, lanes);
        store(g.bias + b * s.channels + e, back.bias, lanes);
    }
}

// Calls task(image, group, its first channel, their end) for all of them, on `threads` threads.
template <class Task>
void in_parallel(const Scan& s, int threads, Task task) {
    const int64_t groups = pieces(s.channels, s.width);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < s.batch * groups; i++) {
        const int64_t first = i % groups * s.width;
        task(i / groups, i % groups, first, std::min(first + s.width, s.channels));
    }
}

template <class T>
void forward(const Scan& s, int threads) {
    in_parallel(s, threads, [&](int64_t b, int64_t, int64_t first, int64_t end) {
        s.states == 16 ? forward_task<T, 16>(s, b, first, end, nullptr) : forward_task<T, 0>(s, b, first, end, nullptr);
    });
}

template <class T>
void backward(const Scan& s, const Gradients& g, int threads) {
    in_parallel(s, threads, [&](int64_t b, int64_t group, int64_t first, int64_t end) {
        s.states == 16      ? backward_task<T, 16, 4>(s, g, b, group, first, end)
        : s.states % 4 == 0 ? backward_task<T, 0, 4>(s, g, b, group, first, end)
                            : backward_task<T, 0, 1>(s, g, b, group, first, end);
    });
}

}  // namespace

extern "C" {
int64_t selective_scan_max_states() { return MAX_STATES; }
int64_t selective_scan_chunk() { return CHUNK; }
void selective_scan_forward_float32(const Scan* s, int threads) { forward<float>(*s, threads); }
void selective_scan_forward_bfloat16(const Scan* s, int threads) { forward<bfloat16>(*s, threads); }
void selective_scan_backward_float32(const Scan* s, const Gradients* g, int threads) { backward<float>(*s, *g, threads); }
void selective_scan_backward_bfloat16(const Scan* s, const Gradients* g, int threads) { backward<bfloat16>(*s, *g, threads); }
}
