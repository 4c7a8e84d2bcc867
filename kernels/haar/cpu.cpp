// The Haar packet transform for processors: a tile at a time, from where its pixels lie to where its bands are wanted.
//
// A tile is the f x f pixels that the levels join, f = 2^levels. Its transform is that of Walsh and Hadamard over the bits of
// a pixel's row and column, its own inverse but for the scale. The tile is kept in the order of its bands.

#include <algorithm>
#include <vector>

#include "vector.h"

namespace {

struct Haar {
    int64_t batch, down, across, channels, side;    // tiles down and across, and their side f
    int64_t image_batch, image_row, image_column;   // strides of the pixels
    void *image, *bands;                            // one of them is the output
    int64_t bands_batch, bands_row;                 // strides of the rows of the bands
    const int64_t* slots;                           // (f^2) which band a pixel's place in its tile becomes
    const int64_t* places;                          // (tokens) row of the bands by row of the layout; none: a row per tile
    double gain;
};

struct Tile {
    const Haar& h;
    int64_t b, down, across;

    template <class T>
    T* pixel(int64_t p) const {
        const int64_t row = down * h.side + p / h.side, column = across * h.side + p % h.side;
        return static_cast<T*>(h.image) + b * h.image_batch + row * h.image_row + column * h.image_column;
    }

    template <class T>
    T* row(int64_t place) const {
        return static_cast<T*>(h.bands) + b * h.bands_batch + place * h.bands_row;
    }

    // Where token p of this tile lies.
    template <class T>
    T* token(int64_t p) const {
        const int64_t row_of_tokens = down * h.side + p / h.side, column = across * h.side + p % h.side;
        return row<T>(h.places[row_of_tokens * h.across * h.side + column]);
    }
};

// Calls each(first, lanes) for vectors over `count` elements.
template <class Each>
void in_vectors(int64_t count, Each each) {
    for (int64_t first = 0; first < count; first += LANES) each(first, int(std::min<int64_t>(LANES, count - first)));
}

void transform(const Haar& h, float* tile) {
    for (int64_t bit = 1; bit < h.side * h.side; bit <<= 1)
        for (int64_t p = 0; p < h.side * h.side; p++) {
            if (p & bit) continue;
            float *first = tile + h.slots[p] * h.channels, *second = tile + h.slots[p | bit] * h.channels;
            in_vectors(h.channels, [&](int64_t c, int lanes) {
                const vec a = load(first + c, lanes), b = load(second + c, lanes);
                store(first + c, a + b, lanes);
                store(second + c, a - b, lanes);
            });
        }
}

template <class T>
void read_image(const Tile& at, float* tile) {
    for (int64_t p = 0; p < at.h.side * at.h.side; p++)
        in_vectors(at.h.channels, [&](int64_t c, int lanes) {
            store(tile + at.h.slots[p] * at.h.channels + c, load(at.pixel<T>(p) + c, lanes), lanes);
        });
}

template <class T>
void write_image(const Tile& at, const float* tile) {
    for (int64_t p = 0; p < at.h.side * at.h.side; p++)
        in_vectors(at.h.channels, [&](int64_t c, int lanes) {
            store(at.pixel<T>(p) + c, float(at.h.gain) * load(tile + at.h.slots[p] * at.h.channels + c, lanes), lanes);
        });
}

// The tile's bands are one row, or every f^2-th of their elements from p on is token p.
template <class T>
void write_bands(const Tile& at, const float* tile) {
    const int64_t pixels = at.h.side * at.h.side;
    if (!at.h.places) {
        T* row = at.row<T>(at.down * at.h.across + at.across);
        return in_vectors(pixels * at.h.channels, [&](int64_t n, int lanes) {
            store(row + n, float(at.h.gain) * load(tile + n, lanes), lanes);
        });
    }
    for (int64_t p = 0; p < pixels; p++)
        in_vectors(at.h.channels, [&](int64_t c, int lanes) {
            vec value{};
            for (int lane = 0; lane < lanes; lane++) value[lane] = tile[(c + lane) * pixels + p];
            store(at.token<T>(p) + c, float(at.h.gain) * value, lanes);
        });
}

template <class T>
void read_bands(const Tile& at, float* tile) {
    const int64_t pixels = at.h.side * at.h.side;
    if (!at.h.places) {
        const T* row = at.row<T>(at.down * at.h.across + at.across);
        return in_vectors(pixels * at.h.channels, [&](int64_t n, int lanes) { store(tile + n, load(row + n, lanes), lanes); });
    }
    for (int64_t p = 0; p < pixels; p++)
        in_vectors(at.h.channels, [&](int64_t c, int lanes) {
            const vec value = load(at.token<T>(p) + c, lanes);
            for (int lane = 0; lane < lanes; lane++) tile[(c + lane) * pixels + p] = value[lane];
        });
}

template <class T>
void run(const Haar& h, bool inverse, int threads) {
    const int64_t tiles = h.down * h.across;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> tile(h.side * h.side * h.channels);
#pragma omp for
        for (int64_t i = 0; i < h.batch * tiles; i++) {
            const Tile at{h, i / tiles, i % tiles / h.across, i % h.across};
            inverse ? read_bands<T>(at, tile.data()) : read_image<T>(at, tile.data());
            transform(h, tile.data());
            inverse ? write_image<T>(at, tile.data()) : write_bands<T>(at, tile.data());
        }
    }
}

}  // namespace

extern "C" {
void haar_forward_float32(const Haar* h, int threads) { run<float>(*h, false, threads); }
void haar_forward_bfloat16(const Haar* h, int threads) { run<bfloat16>(*h, false, threads); }
void haar_inverse_float32(const Haar* h, int threads) { run<float>(*h, true, threads); }
void haar_inverse_bfloat16(const Haar* h, int threads) { run<bfloat16>(*h, true, threads); }
}
