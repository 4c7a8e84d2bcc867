"""The selective scan in Triton: a program takes a block of channels of one image through the positions, chunk by chunk.

Inside a chunk the recurrence h_l = a_l h_{l-1} + b_l is an associative scan over the pairs (a_l, b_l); between chunks
the state is carried on. Past the end u, B, C and the incoming gradient read as zero, so nothing comes from there.
"""

# mypy: allow-untyped-defs
# Triton takes the types of the arguments from each call.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _compose(decay, drive, next_decay, next_drive):
    return decay * next_decay, next_decay * drive + next_drive


@triton.jit
def _softplus(x):
    power = tl.exp(tl.minimum(x, 20.0))
    rounded = 1 + power
    lost = power / tl.where(rounded == 1, 1.0, rounded - 1)  # makes up for the digits that 1 + power lost
    return tl.where(x > 20, x, tl.where(rounded == 1, power, tl.log(rounded) * lost))


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _rows(pointer, batch_stride, row_stride, positions, columns, inside):
    """(positions, columns) of this program's image as float32, zeros outside."""
    at = pointer + tl.program_id(0).to(tl.int64) * batch_stride + positions[:, None] * row_stride + columns[None, :]
    return tl.load(at, inside, 0.0).to(tl.float32)


@triton.jit
def _steps(delta, delta_batch, delta_row, positions, e, inside, bias):
    """The raw steps and their softplus."""
    raw = _rows(delta, delta_batch, delta_row, positions, e, inside) + bias[None, :]
    return raw, _softplus(raw)


@triton.jit
def _states(start, step, u, A, B):
    """The states (positions, channels, states) after `start`, and what each position adds to its own."""
    decay = tl.exp(step[:, :, None] * A[None, :, :])
    drive = (step * u)[:, :, None] * B[:, None, :]
    decay, own = tl.associative_scan((decay, drive), 0, _compose)
    return decay * start[None, :, :] + own, drive


@triton.jit
def _pick(tile, positions, position):
    """The (channels, states) of one position."""
    return tl.sum(tl.where((positions == position)[:, None, None], tile, 0.0), 0)


@triton.jit
def forward_kernel(
    u, delta, B, C, z, y, A, D, bias, starts,
    u_batch, u_row, delta_batch, delta_row, B_batch, B_row, C_batch, C_row, z_batch, z_row,
    length, channels, states,
    GATED: tl.constexpr, READ_OUT: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Writes y (B, L, E) if READ_OUT, else the states before each chunk to starts (B, chunks, E, N)."""
    b, chunks = tl.program_id(0).to(tl.int64), tl.cdiv(length, CHUNK)
    e, n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, STATES)
    square = (e < channels)[:, None] & (n < states)[None, :]
    of_state = e[:, None] * states + n[None, :]
    A_here = tl.load(A + of_state, square, 0.0)
    D_here, bias_here = tl.load(D + e, e < channels, 0.0), tl.load(bias + e, e < channels, 0.0)
    state = tl.zeros((BLOCK, STATES), tl.float32)
    for chunk in range(chunks):
        p = chunk * CHUNK + tl.arange(0, CHUNK)
        inside, inside_n = (
            (p < length)[:, None] & (e < channels)[None, :],
            (p < length)[:, None] & (n < states)[None, :],
        )
        u_here = _rows(u, u_batch, u_row, p, e, inside)
        _, step = _steps(delta, delta_batch, delta_row, p, e, inside, bias_here)
        h, _ = _states(state, step, u_here, A_here, _rows(B, B_batch, B_row, p, n, inside_n))
        if READ_OUT:
            read = tl.sum(h * _rows(C, C_batch, C_row, p, n, inside_n)[:, None, :], 2) + D_here[None, :] * u_here
            if GATED:
                z_here = _rows(z, z_batch, z_row, p, e, inside)
                read *= z_here * _sigmoid(z_here)
            tl.store(y + (b * length + p[:, None]) * channels + e[None, :], read, inside)
        else:
            tl.store(starts + (b * chunks + chunk) * channels * states + of_state, state, square)
        state = _pick(h, p, (chunk + 1) * CHUNK - 1)


@triton.jit
def backward_kernel(
    u, delta, B, C, z, gy, A, D, bias, starts,
    u_batch, u_row, delta_batch, delta_row, B_batch, B_row, C_batch, C_row, z_batch, z_row, gy_batch, gy_row,
    gu, gdelta, gz, gA, gB, gC, gD, gbias,
    length, channels, states,
    GATED: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Gradients from the last chunk to the first. gA (B, E, N), gD and gbias (B, E) hold one part per image; gB and gC
    (B, blocks, L, N) one per block of channels."""
    b, block, chunks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.cdiv(length, CHUNK)
    e, n = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, STATES)
    square = (e < channels)[:, None] & (n < states)[None, :]
    of_state = e[:, None] * states + n[None, :]
    A_here = tl.load(A + of_state, square, 0.0)
    D_here, bias_here = tl.load(D + e, e < channels, 0.0), tl.load(bias + e, e < channels, 0.0)
    A_sum, carry = tl.zeros((BLOCK, STATES), tl.float32), tl.zeros((BLOCK, STATES), tl.float32)
    D_sum, bias_sum = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for back in range(chunks):
        chunk = chunks - 1 - back
        p = chunk * CHUNK + tl.arange(0, CHUNK)
        inside, inside_n = (
            (p < length)[:, None] & (e < channels)[None, :],
            (p < length)[:, None] & (n < states)[None, :],
        )
        at = (b * length + p[:, None]) * channels + e[None, :]
        u_here = _rows(u, u_batch, u_row, p, e, inside)
        B_here, C_here = _rows(B, B_batch, B_row, p, n, inside_n), _rows(C, C_batch, C_row, p, n, inside_n)
        gy_here = _rows(gy, gy_batch, gy_row, p, e, inside)
        raw, step = _steps(delta, delta_batch, delta_row, p, e, inside, bias_here)
        start = tl.load(starts + (b * chunks + chunk) * channels * states + of_state, square, 0.0)
        h, drive = _states(start, step, u_here, A_here, B_here)
        if GATED:
            z_here = _rows(z, z_batch, z_row, p, e, inside)
            open, read = _sigmoid(z_here), tl.sum(h * C_here[:, None, :], 2) + D_here[None, :] * u_here
            tl.store(gz + at, gy_here * read * open * (1 + z_here * (1 - open)), inside)
            gy_here *= z_here * open

        # g_l = C_l gy_l + decay_{p+1} g_{p+1}
        later = ((p + 1) < length)[:, None] & (e < channels)[None, :]
        _, next_step = _steps(delta, delta_batch, delta_row, p + 1, e, later, bias_here)
        next_decay = tl.exp(next_step[:, :, None] * A_here[None, :, :])
        own = gy_here[:, :, None] * C_here[:, None, :]
        next_decay, own = tl.associative_scan((next_decay, own), 0, _compose, reverse=True)
        g = next_decay * carry[None, :, :] + own
        carry = _pick(g, p, chunk * CHUNK)

        of_group = ((b * tl.num_programs(1) + block) * length + p[:, None]) * states + n[None, :]
        tl.store(gB + of_group, tl.sum(g * (step * u_here)[:, :, None], 1), inside_n)
        tl.store(gC + of_group, tl.sum(h * gy_here[:, :, None], 1), inside_n)
        gdrive = tl.sum(g * B_here[:, None, :], 2)
        gexponent = g * (h - drive)
        gstep = tl.sum(gexponent * A_here[None, :, :], 2) + gdrive * u_here
        graw = gstep * tl.where(raw > 20, 1.0, _sigmoid(raw))
        tl.store(gu + at, gy_here * D_here[None, :] + gdrive * step, inside)
        tl.store(gdelta + at, graw, inside)
        A_sum += tl.sum(gexponent * step[:, :, None], 0)
        D_sum += tl.sum(gy_here * u_here, 0)
        bias_sum += tl.sum(graw, 0)
    tl.store(gA + b * channels * states + of_state, A_sum, square)
    tl.store(gD + b * channels + e, D_sum, e < channels)
    tl.store(gbias + b * channels + e, bias_sum, e < channels)
