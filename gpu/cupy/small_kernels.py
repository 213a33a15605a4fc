"""The text of the kernels that solve small systems whole: facts, units, iteration and certificate, as on the CPU.

A system belongs to some lanes of a warp, which keep its matrix and its vectors in registers, or the matrix of up to
64 rows in shared memory: everything is read once and written once. The lanes of a warp go on until all of its systems
are done; those that are done no longer change.
"""

from __future__ import annotations

from ...backends.compiled.found import ALONE, CONVERGED, FOUND, MAX_ITERATIONS, ZERO

__all__ = ["TEXT"]

_NAMES = f"""
#include <cupy/complex.cuh>
enum Status {{ ALONE = {ALONE}, CONVERGED = {CONVERGED}, MAX_ITERATIONS = {MAX_ITERATIONS}, ZERO = {ZERO} }};
enum Found {{ {", ".join(name.upper() for name in FOUND)}, COUNT }};
"""

_NUMBERS = r"""
typedef unsigned lanes;
const lanes ALL = 0xffffffffu;

__device__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }

template <class T> struct Kind { typedef T real; typedef double wide; };
template <class R> struct Kind<complex<R> > { typedef R real; typedef complex<double> wide; };

template <class R> __device__ R real_part(R x) { return x; }
template <class R> __device__ R real_part(complex<R> x) { return x.real(); }
template <class R> __device__ R imaginary_part(R x) { return R(0); }
template <class R> __device__ R imaginary_part(complex<R> x) { return x.imag(); }
template <class R> __device__ R conjugate(R x) { return x; }
template <class R> __device__ complex<R> conjugate(complex<R> x) { return complex<R>(x.real(), -x.imag()); }
template <class R> __device__ R inner(R x, R y) { return x * y; }
template <class R> __device__ R inner(complex<R> x, complex<R> y) { return x.real() * y.real() + x.imag() * y.imag(); }
__device__ float modulus(float x) { return fabsf(x); }
__device__ double modulus(double x) { return fabs(x); }
template <class R> __device__ R modulus(complex<R> x) {  // infinite from 1e154 on, where nothing is solved here
    double real = x.real(), imaginary = x.imag();
    return (R)sqrt(real * real + imaginary * imaginary);
}
template <class R> __device__ R scaled(R x, R by) { return x * by; }
template <class R> __device__ complex<R> scaled(complex<R> x, R by) { return complex<R>(x.real() * by, x.imag() * by); }
__device__ double widened(float x) { return x; }
__device__ double widened(double x) { return x; }
template <class R> __device__ complex<double> widened(complex<R> x) { return complex<double>(x.real(), x.imag()); }
__device__ float to(float, float x) { return x; }
__device__ double to(double, float x) { return x; }
__device__ double to(double, double x) { return x; }
__device__ complex<float> to(complex<float>, complex<float> x) { return x; }
__device__ complex<double> to(complex<double>, complex<float> x) { return widened(x); }
__device__ complex<double> to(complex<double>, complex<double> x) { return x; }

template <class T> __device__ T shuffled(T x, int bits, int width) { return __shfl_xor_sync(ALL, x, bits, width); }
template <class T> __device__ T lower_lane(T x, int width) { return __shfl_up_sync(ALL, x, 1, width); }
template <class T> __device__ T upper_lane(T x, int width) { return __shfl_down_sync(ALL, x, 1, width); }
template <class R> __device__ complex<R> lower_lane(complex<R> x, int width) {
    return complex<R>(lower_lane(x.real(), width), lower_lane(x.imag(), width));
}
template <class R> __device__ complex<R> upper_lane(complex<R> x, int width) {
    return complex<R>(upper_lane(x.real(), width), upper_lane(x.imag(), width));
}

// The larger one; NaN where one of them is.
template <class R> __device__ R larger(R x, R y) { return x > y || x != x ? x : y; }

// Over the lanes of a system, the same in all of them.
template <int L, class R> __device__ R total(R x) {
    for (int bits = L / 2; bits > 0; bits /= 2) x += shuffled(x, bits, L);
    return x;
}
template <int L, class R> __device__ R largest_of(R x) {
    for (int bits = L / 2; bits > 0; bits /= 2) x = larger(x, shuffled(x, bits, L));
    return x;
}
template <int L, class R> __device__ R smallest_of(R x) { return -largest_of<L>(-x); }
template <int L> __device__ bool all_of(bool x) { return smallest_of<L>(x ? 1 : 0) != 0; }

// The e with 2^e <= size < 2^(e + 1); 0 for 0.
__device__ int exponent_of(double size) {
    int e = 0;
    if (size > 0) frexp(size, &e);
    return size > 0 ? e - 1 : 0;
}
"""

# A matrix says which rows a lane has, goes through the entries of one, and multiplies.
_MATRICES = r"""
// A full matrix of n <= N rows; row e of a lane is the one with the number lane + 32 e.
template <class T, int N> struct Full {
    typedef T value;
    static const int L = N < 32 ? N : 32, E = N / L, WIDTH = N + 1, HELD = N <= 32 ? N : 1;
    static const int THREADS = N > 32 ? 32 : sizeof(T) > 8 ? 64 : 128, SYSTEMS = THREADS / L;
    T *tile, *vector, row[HELD];
    int n, lane;

    __device__ int at(int e) const { return lane + e * L; }
    __device__ T entry(int e, int k) const { return N <= 32 ? row[N <= 32 ? k : 0] : tile[at(e) * WIDTH + k]; }

    __device__ void load(const T* values, const int*, int rows, int own_lane) {
        __shared__ T tiles[SYSTEMS * N * WIDTH], vectors[SYSTEMS * N];
        int system = threadIdx.x / L;
        tile = tiles + system * N * WIDTH;
        vector = vectors + system * N;
        n = rows;
        lane = own_lane;
#pragma unroll 8
        for (int i = 0; i < N; ++i)
#pragma unroll
            for (int e = 0; e < E; ++e) tile[i * WIDTH + at(e)] = i < n && at(e) < n ? values[i * n + at(e)] : T(0);
        __syncwarp();
        if (N <= 32) {
#pragma unroll
            for (int k = 0; k < HELD; ++k) row[k] = tile[lane * WIDTH + k];
        }
    }

    template <class F> __device__ void each(int e, F look) const {
#pragma unroll 4
        for (int k = 0; k < N; ++k) look(k, tile[at(e) * WIDTH + k]);
    }

    __device__ T diagonal(int e) const { return tile[at(e) * WIDTH + at(e)]; }

    __device__ typename Kind<T>::real asymmetry() const {
        typename Kind<T>::real most = 0;
        for (int e = 0; e < E; ++e)
#pragma unroll 4
            for (int k = 0; k < N; ++k)
                most = larger(most, modulus(tile[at(e) * WIDTH + k] - conjugate(tile[k * WIDTH + at(e)])));
        return most;
    }

    // Sums in the type of ``out``.
    template <class S> __device__ void product(const T* x, S* out) const {
        __syncwarp();
        for (int e = 0; e < E; ++e) vector[at(e)] = x[e];
        __syncwarp();
#pragma unroll
        for (int e = 0; e < E; ++e) {
            S sums[4] = {S(0), S(0), S(0), S(0)};
#pragma unroll
            for (int k = 0; k < N; ++k) sums[k % 4] += to(S(0), entry(e, k)) * to(S(0), vector[k]);
            out[e] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        }
    }
};

// Diagonals from -W to W of n <= N rows, of which a lane has four or eight after another, as registers allow.
// ``places`` says where among the values each entry lies, by diagonals; -1 where it is zero.
template <class T, int W, int N> struct Banded {
    typedef T value;
    static const int E = N < 8 || (2 * W + 5) * sizeof(T) > 64 ? 4 : 8, L = N / E, THREADS = 128;
    T band[2 * W + 1][E];
    int n, lane;

    __device__ int at(int e) const { return lane * E + e; }

    __device__ void load(const T* values, const int* places, int rows, int own_lane) {
        n = rows;
        lane = own_lane;
#pragma unroll
        for (int d = 0; d <= 2 * W; ++d)
#pragma unroll
            for (int e = 0; e < E; ++e) {
                int place = at(e) < n ? places[d * n + at(e)] : -1;
                band[d][e] = place >= 0 ? values[place] : T(0);
            }
    }

    template <class F> __device__ void each(int e, F look) const {
#pragma unroll
        for (int d = 0; d <= 2 * W; ++d) look(at(e) + d - W, band[d][e]);
    }

    __device__ T diagonal(int e) const { return band[W][e]; }

    __device__ typename Kind<T>::real asymmetry() const {
        typename Kind<T>::real most = 0;
#pragma unroll
        for (int e = 0; e < E; ++e) most = larger(most, 2 * fabs(imaginary_part(band[W][e])));
#pragma unroll
        for (int w = 1; w <= W; ++w) {
            T mirrored[E + W];
            extend(band[W - w], mirrored, 0);
#pragma unroll
            for (int e = 0; e < E; ++e) most = larger(most, modulus(band[W + w][e] - conjugate(mirrored[e + w])));
        }
        return most;
    }

    // The numbers of a lane, behind ``below`` of the lane before it, and before W of the one after it.
    __device__ void extend(const T* x, T* out, int below) const {
#pragma unroll
        for (int e = 0; e < E; ++e) out[below + e] = x[e];
#pragma unroll
        for (int w = 0; w < W; ++w) {
            if (below) {
                T before = lower_lane(x[E - W + w], L);
                out[w] = lane > 0 ? before : T(0);
            }
            T after = upper_lane(x[w], L);
            out[below + E + w] = lane < L - 1 ? after : T(0);
        }
    }

    template <class S> __device__ void product(const T* x, S* out) const {
        T all[E + 2 * W];
        extend(x, all, W);
#pragma unroll
        for (int e = 0; e < E; ++e) {
            S sum = S(0);
#pragma unroll
            for (int d = 0; d <= 2 * W; ++d) sum += to(S(0), band[d][e]) * to(S(0), all[e + d]);
            out[e] = sum;
        }
    }
};
"""

_LOOK = r"""
// The facts of a matrix, the same in all of its lanes.
template <class R> struct Facts {
    R largest, norm, sum, asymmetry, margin;
    bool lower, upper, positive, dominant;
    int empty_row, zero_diagonal;
};

template <class Matrix> __device__ Facts<typename Kind<typename Matrix::value>::real> facts_of(const Matrix& A) {
    typedef typename Matrix::value T;
    typedef typename Kind<T>::real R;
    const int L = Matrix::L;
    Facts<R> f = {R(0), R(0), R(0), A.asymmetry(), R(infinity()), true, true, true, true, A.n, A.n};
#pragma unroll
    for (int e = 0; e < Matrix::E; ++e) {
        int i = A.at(e);
        if (i >= A.n) continue;
        R square = 0, sum = 0, size = modulus(A.diagonal(e)), real = real_part(A.diagonal(e));
        bool entry = false, left = false, right = false;
        A.each(e, [&](int k, T value) {
            R here = modulus(value);
            bool held = !(value == T(0));
            f.largest = larger(f.largest, here);
            square += here * here;
            sum += here;
            entry |= held;
            left |= held && k < i;
            right |= held && k > i;
        });
        f.norm = larger(f.norm, square);
        f.sum = larger(f.sum, sum);
        f.margin = -larger(-f.margin, -(real + size - sum));
        f.positive &= real > 0 && imaginary_part(A.diagonal(e)) == 0;
        f.dominant &= 2 * size > sum;
        f.lower &= !right;
        f.upper &= !left;
        if (!entry && i < f.empty_row) f.empty_row = i;
        if (A.diagonal(e) == T(0) && i < f.zero_diagonal) f.zero_diagonal = i;
    }
    f.largest = largest_of<L>(f.largest);
    f.norm = sqrt(largest_of<L>(f.norm));
    f.sum = largest_of<L>(f.sum);
    f.asymmetry = largest_of<L>(f.asymmetry);
    f.margin = smallest_of<L>(f.margin);
    f.lower = all_of<L>(f.lower);
    f.upper = all_of<L>(f.upper);
    f.positive = all_of<L>(f.positive);
    f.dominant = all_of<L>(f.dominant);
    f.empty_row = smallest_of<L>(f.empty_row);
    f.zero_diagonal = smallest_of<L>(f.zero_diagonal);
    return f;
}
"""

_CG = r"""
// Conjugate gradients for system i with matrix i / per_matrix, as ``small_cg.cg`` has it.
//
// ``entries`` numbers of ``values`` belong to a matrix. ``guess`` and ``inverse_diagonal`` are read where ``guessed``
// and ``preconditioned`` say so; ``numbers``, three rows of steps + 1 a system, is written to where ``kept`` does.
template <class Matrix>
__global__ void __launch_bounds__(Matrix::THREADS) solve_by_cg(
    long long systems, long long per_matrix, int n, long long entries,
    const typename Matrix::value* values, const int* places,
    const typename Matrix::value* given, const typename Matrix::value* guess,
    const typename Matrix::value* inverse_diagonal,
    typename Matrix::value* solutions, signed char* codes, double* numbers, double* found,
    int guessed, int preconditioned, int kept,
    double rtol, double atol, double maxiter, double steps, double unit_roundoff, double skew,
    double comfortable, double lowest, double highest, int choose
) {
    typedef typename Matrix::value T;
    typedef typename Kind<T>::real R;
    typedef typename Kind<T>::wide W;
    const int L = Matrix::L, E = Matrix::E;
    const long long place = ((long long)blockIdx.x * Matrix::THREADS + threadIdx.x) / L;
    const bool mine = place < systems;
    const long long i = mine ? place : systems - 1;  // lanes without a system go through the last, and write nothing
    const int lane = threadIdx.x % L;

    Matrix A;
    A.load(values + i / per_matrix * entries, places, n, lane);
    const Facts<R> f = facts_of(A);

    T x[E], r[E], p[E], q[E];
    R d[E];
    R size = 0;
#pragma unroll
    for (int e = 0; e < E; ++e) {
        r[e] = A.at(e) < n ? given[i * n + A.at(e)] : T(0);
        x[e] = T(0);
        d[e] = 1;
        size = larger(size, modulus(r[e]));
    }
    size = largest_of<L>(size);
    const bool symmetric = f.asymmetry <= R(skew) * f.largest;
    const int exponent = exponent_of(size), last_row = n;
    int status = ALONE;
    bool sound = f.largest < R(infinity()) && abs(exponent_of(f.largest)) <= comfortable && symmetric;
    sound = sound && size < R(infinity());
    if (sound && size == 0) status = ZERO;
    sound = sound && size > 0 && f.empty_row == last_row && abs(exponent) <= highest - 2;
    if (choose) sound = sound && f.positive && !f.lower && !f.upper;

    // Units in which b is of size one.
    const R power = sound ? (R)ldexp(1.0, -exponent) : R(0);
    R square = 0;
#pragma unroll
    for (int e = 0; e < E; ++e) {
        r[e] = scaled(r[e], power);
        square += inner(r[e], r[e]);
    }
    const double reference = sqrt((double)total<L>(square));
    double first = reference;
    if (guessed) {
        R most = 0;
#pragma unroll
        for (int e = 0; e < E; ++e) {
            x[e] = A.at(e) < n ? guess[i * n + A.at(e)] : T(0);
            most = larger(most, modulus(x[e]));
        }
        most = largest_of<L>(most);
        sound = sound && most < R(infinity());
        W Ax[E];
        double left = 0;
#pragma unroll
        for (int e = 0; e < E; ++e) x[e] = sound ? scaled(x[e], power) : T(0);
        A.product(x, Ax);
#pragma unroll
        for (int e = 0; e < E; ++e) {
            W rest = widened(r[e]) - Ax[e];
            left += inner(rest, rest);
            r[e] = T(rest);
        }
        first = sqrt(total<L>(left));
        sound = sound && first <= reference / unit_roundoff;
    }
    double target = rtol * reference;
    if (atol > 0) target = max(target, ldexp(atol, -exponent));
    const double wanted = max(target, unit_roundoff * unit_roundoff * reference);

    // Jacobi's preconditioner: the caller's, or where the diagonal varies.
    bool by_diagonal = preconditioned;
    if (preconditioned || choose) {
        R high = 0, low = 0;
#pragma unroll
        for (int e = 0; e < E; ++e) {
            if (A.at(e) >= n) continue;
            if (preconditioned) {
                d[e] = real_part(inverse_diagonal[A.at(e)]);
            } else {
                d[e] = 1 / real_part(A.diagonal(e));
                high = larger(high, modulus(A.diagonal(e)));
                low = larger(low, d[e]);
            }
        }
        high = largest_of<L>(high);
        low = largest_of<L>(low);
        if (choose) by_diagonal = high > R(1.01) * (1 / low);
        R most = 0;
#pragma unroll
        for (int e = 0; e < E; ++e) {
            if (!by_diagonal) d[e] = 1;
            most = larger(most, modulus(scaled(r[e], d[e])));
        }
        most = largest_of<L>(most);
        sound = sound && most < R(infinity()) && abs(exponent_of(most)) <= comfortable;
    }

    R rho = 0;
#pragma unroll
    for (int e = 0; e < E; ++e) {
        p[e] = scaled(r[e], d[e]);
        rho += inner(r[e], p[e]);
    }
    rho = total<L>(rho);
    sound = sound && rho > 0 && first > wanted;
    double norm = first;
    double* seen = numbers + i * 3 * ((long long)steps + 1);
    if (kept && mine && lane == 0) seen[0] = first;
    int taken = 0;
    bool going = sound;
    for (int k = 0; k < steps && __any_sync(ALL, going); ++k) {
        A.product(p, q);
        R curvature = 0, next = 0;
        square = 0;
#pragma unroll
        for (int e = 0; e < E; ++e) curvature += inner(p[e], q[e]);
        curvature = total<L>(curvature);
        if (going && !(curvature > 0)) going = sound = false;
        const R alpha = going ? rho / curvature : R(0);
#pragma unroll
        for (int e = 0; e < E; ++e) {
            if (going) {
                x[e] += scaled(p[e], alpha);
                r[e] -= scaled(q[e], alpha);
            }
            square += inner(r[e], r[e]);
            next += inner(r[e], scaled(r[e], d[e]));
        }
        square = total<L>(square);
        next = preconditioned || choose ? total<L>(next) : square;
        if (going) {
            const R beta = next / rho;
#pragma unroll
            for (int e = 0; e < E; ++e) p[e] = scaled(r[e], d[e]) + scaled(p[e], beta);
            rho = next;
            norm = sqrt((double)square);
            taken = k + 1;
            going = norm > wanted;
            if (kept && mine && lane == 0) {
                seen[taken] = norm;
                seen[(long long)steps + 1 + taken] = alpha;
                seen[2 * ((long long)steps + 1) + taken] = beta;
            }
        }
    }

    // The certificate: the true residual, summed in double precision.
    W Ax[E];
    double left = 0, length = 0;
    A.product(x, Ax);
#pragma unroll
    for (int e = 0; e < E; ++e) {
        T b = A.at(e) < n ? given[i * n + A.at(e)] : T(0);
        W rest = widened(scaled(b, power)) - Ax[e];
        left += inner(rest, rest);
        length += inner(widened(x[e]), widened(x[e]));
    }
    const double residual = sqrt(total<L>(left));
    length = sqrt(total<L>(length));
    int reached = exponent_of(length) + 1 + exponent;
    sound = sound && norm < infinity() && !(norm > wanted && (taken < maxiter || norm > 0.9 * first));
    sound = sound && !(exponent != 0 && length > 0 && !(lowest <= reached && reached <= highest));
    if (sound && residual <= target) status = CONVERGED;
    else if (sound && taken == maxiter && residual <= first) status = MAX_ITERATIONS;

    if (!mine) return;
    const R back = status == CONVERGED || status == MAX_ITERATIONS ? (R)ldexp(1.0, exponent) : R(0);
#pragma unroll
    for (int e = 0; e < E; ++e)
        if (A.at(e) < n) solutions[i * n + A.at(e)] = scaled(x[e], back);
    if (lane != 0) return;
    codes[i] = status;
    double* out = found + i * COUNT;
    const bool solved = status != ALONE && status != ZERO;
    const double unit = solved && reference > 0 ? reference : 1.0;
    out[STATUS] = status;
    out[ITERATIONS] = solved ? taken : 0;
    out[PRODUCTS] = solved ? taken + 1 + (guessed ? 1 : 0) : 0;
    out[LOOKS] = solved ? taken : 0;
    out[EXPONENT] = solved ? exponent : 0;
    out[REFERENCE] = solved ? reference : 0;
    out[RESIDUAL] = residual;
    out[SIZE] = length;
    out[FIRST] = first;
    out[LAST] = norm;
    out[JACOBI] = by_diagonal;
    out[RELATIVE_RESIDUAL] = solved ? residual / unit : 0;
    out[RESIDUAL_NORM] = solved ? ldexp(residual, exponent) : 0;
    out[RHS_NORM] = solved ? ldexp(reference, exponent) : 0;
    out[TOLERANCE] = solved ? target / unit : rtol;
    out[LOW] = out[HIGH] = out[LEARNED] = 0;
    out[MAX_ABS] = f.largest;
    out[ROW_NORM] = f.norm;
    out[ROW_SUM] = f.sum;
    out[ASYMMETRY] = f.asymmetry;
    out[LOWER] = f.lower;
    out[UPPER] = f.upper;
    out[DIAGONAL_POSITIVE] = f.positive;
    out[DOMINANT] = f.dominant;
    out[EMPTY_ROW] = f.empty_row < n ? f.empty_row : -1;
    out[ZERO_DIAGONAL] = f.zero_diagonal < n ? f.zero_diagonal : -1;
    out[MARGIN] = f.margin;
}
"""

TEXT = _NAMES + _NUMBERS + _MATRICES + _LOOK + _CG
