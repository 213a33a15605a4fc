// CUDA C on the host: what kernels use of the language, so that their text can be compiled and run without a device.
//
// The blocks of a grid run one after the other. The threads of a block are coroutines, which change places where they
// meet: at barriers and in the exchanges of a warp. The order is always the same, so runs repeat; `backwards` turns it
// round, and a kernel that lacks a barrier then comes to something else.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
typedef dim3 uint3;
static dim3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace on_host {

enum { STACK = 1 << 16, MOST = 1024, LANES = 32 };

struct Thread {
    ucontext_t context;
    dim3 index;
    bool alive;
    unsigned turn;  // which of the two halves of its warp's exchange it writes to
};
struct Warp {
    unsigned living, arrived;
    unsigned long generation;
    char given[2][LANES][16];
};

static Thread threads[MOST];
static Warp warps[MOST / LANES];
static ucontext_t scheduler;
static char* stacks;
static int running, living, arrived, votes[2], backwards;
static unsigned long generation, moves;
static char dynamic_shared[1 << 18] __attribute__((aligned(128)));
static void (*body)(void*);
static void* arguments;

static void yield() { swapcontext(&threads[running].context, &scheduler); }

static void pass_barrier() {
    arrived = 0;
    ++generation;
    ++moves;
}

static void barrier() {
    unsigned long mine = generation;
    ++moves;
    if (++arrived == living) pass_barrier();
    else while (generation == mine) yield();
}

static void warp_barrier(unsigned mask) {
    Warp& warp = warps[running / LANES];
    unsigned long mine = warp.generation;
    ++moves;
    warp.arrived |= 1u << running % LANES;
    while (warp.generation == mine) {
        if ((warp.arrived & mask & warp.living) == (mask & warp.living)) {
            warp.arrived = 0;
            ++warp.generation;
            ++moves;
        } else {
            yield();
        }
    }
}

template <class T> T from_lane(unsigned mask, T value, int lane) {
    static_assert(sizeof(T) <= 16, "warps exchange numbers");
    Warp& warp = warps[running / LANES];
    unsigned half = threads[running].turn++ % 2;
    memcpy(warp.given[half][running % LANES], &value, sizeof(T));
    warp_barrier(mask);
    T result;
    memcpy(&result, warp.given[half][lane], sizeof(T));
    return result;
}

static void begin() {
    body(arguments);
    Thread& self = threads[running];
    self.alive = false;
    warps[running / LANES].living &= ~(1u << running % LANES);
    ++moves;
    if (--living > 0 && arrived == living) pass_barrier();
    for (;;) yield();
}

// Run one block; whether all of its threads have come to their end.
static bool run_block(int count) {
    if (!stacks) stacks = (char*)malloc((size_t)MOST * STACK);
    living = count;
    arrived = 0;
    memset(dynamic_shared, 0xff, sizeof dynamic_shared);  // NaN, for what is read before it is written
    for (int k = 0; k < count; ++k) {
        Thread& thread = threads[k];
        thread.alive = true;
        thread.turn = 0;
        thread.index = dim3(k % blockDim.x, k / blockDim.x % blockDim.y, k / (blockDim.x * blockDim.y));
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = stacks + (size_t)k * STACK;
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = 0;
        makecontext(&thread.context, begin, 0);
    }
    for (int w = 0; w * LANES < count; ++w) {
        int lanes = count - w * LANES;
        warps[w].living = lanes >= LANES ? ~0u : (1u << lanes) - 1;
        warps[w].arrived = 0;
    }
    while (living > 0) {
        unsigned long before = moves;
        for (int k = 0; k < count; ++k) {
            running = backwards ? count - 1 - k : k;
            if (!threads[running].alive) continue;
            threadIdx = threads[running].index;
            swapcontext(&scheduler, &threads[running].context);
        }
        if (moves == before) return false;
    }
    return true;
}

// 0, or 1 where threads wait for others that never come.
static int run_grid(const unsigned* grid, const unsigned* block, void (*kernel)(void*), void* given) {
    gridDim = dim3(grid[0], grid[1], grid[2]);
    blockDim = dim3(block[0], block[1], block[2]);
    body = kernel;
    arguments = given;
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = dim3(x, y, z);
                if (!run_block(block[0] * block[1] * block[2])) return 1;
            }
    return 0;
}

template <size_t... I> struct Indices {};
template <size_t N, size_t... I> struct Counted : Counted<N - 1, N - 1, I...> {};
template <size_t... I> struct Counted<0, I...> { typedef Indices<I...> type; };

template <class T> struct Name { static const char* of() { return ""; } };
#define ON_HOST_NAME(type, name) template <> struct Name<type> { static const char* of() { return name; } };
ON_HOST_NAME(bool, "bool")
ON_HOST_NAME(signed char, "int8")
ON_HOST_NAME(unsigned char, "uint8")
ON_HOST_NAME(short, "int16")
ON_HOST_NAME(unsigned short, "uint16")
ON_HOST_NAME(int, "int32")
ON_HOST_NAME(unsigned, "uint32")
ON_HOST_NAME(long, "int64")
ON_HOST_NAME(unsigned long, "uint64")
ON_HOST_NAME(long long, "int64")
ON_HOST_NAME(unsigned long long, "uint64")
ON_HOST_NAME(float, "float32")
ON_HOST_NAME(double, "float64")

template <class T> struct Kind {
    static const char* name() { return Name<T>::of(); }
    static const int pointer = 0;
};
template <class T> struct Kind<T*> {
    static const char* name() { return Name<T>::of(); }
    static const int pointer = 1;
};
template <class T> struct Kind<const T*> : Kind<T*> {};
template <class T> struct Kind<const T> : Kind<T> {};

template <class... P> struct Launch {
    void (*kernel)(P...);
    void** given;
    template <size_t... I> void call(Indices<I...>) { kernel(*(typename Plain<P>::type*)given[I]...); }
    template <class T> struct Plain { typedef T type; };
    template <class T> struct Plain<const T> { typedef T type; };
    static void run(void* self) { ((Launch*)self)->call(typename Counted<sizeof...(P)>::type()); }
};

template <class... P>
int launch(void (*kernel)(P...), const unsigned* grid, const unsigned* block, void** given) {
    Launch<P...> all = {kernel, given};
    return run_grid(grid, block, Launch<P...>::run, &all);
}

// What a kernel takes: of each argument its size, whether it is a pointer, and its type's name.
template <class... P> int signature(void (*)(P...), int* sizes, int* pointers, const char** names) {
    const int all_sizes[] = {0, (int)sizeof(P)...}, all_pointers[] = {0, Kind<P>::pointer...};
    const char* all_names[] = {"", Kind<P>::name()...};
    for (size_t k = 0; k < sizeof...(P); ++k) {
        sizes[k] = all_sizes[k + 1];
        pointers[k] = all_pointers[k + 1];
        names[k] = all_names[k + 1];
    }
    return (int)sizeof...(P);
}

// An array that elementwise kernels and reductions go through by its flat index, whatever its strides.
struct Array {
    char* data;
    long long dimensions;
    const long long *shape, *strides;
};

}  // namespace on_host

inline void __syncthreads() { on_host::barrier(); }
inline int __syncthreads_count(int predicate) {
    static int turn;
    int half = turn;
    on_host::votes[half] += predicate != 0;
    on_host::barrier();
    int result = on_host::votes[half];
    turn = 1 - half;
    on_host::barrier();
    on_host::votes[half] = 0;
    return result;
}
inline int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) > 0; }
inline int __syncthreads_and(int predicate) { return __syncthreads_count(!predicate) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { on_host::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline unsigned __activemask() { return on_host::warps[on_host::running / on_host::LANES].living; }

template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    int self = on_host::running % on_host::LANES;
    return on_host::from_lane(mask, value, (self & ~(width - 1)) | (lane & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    int self = on_host::running % on_host::LANES, other = self ^ bits;
    return on_host::from_lane(mask, value, (other & ~(width - 1)) == (self & ~(width - 1)) ? other : self);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    int self = on_host::running % on_host::LANES, inside = self & (width - 1);
    return on_host::from_lane(mask, value, inside + (int)by < width ? self + (int)by : self);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    int self = on_host::running % on_host::LANES, inside = self & (width - 1);
    return on_host::from_lane(mask, value, inside >= (int)by ? self - (int)by : self);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned result = 0, mine = predicate != 0, living = __activemask() & mask;
    unsigned half = on_host::threads[on_host::running].turn++ % 2;
    on_host::Warp& warp = on_host::warps[on_host::running / on_host::LANES];
    memcpy(warp.given[half][on_host::running % on_host::LANES], &mine, sizeof mine);
    on_host::warp_barrier(mask);
    for (int lane = 0; lane < on_host::LANES; ++lane) {
        unsigned other;
        memcpy(&other, warp.given[half][lane], sizeof other);
        if (living >> lane & 1) result |= other << lane;
    }
    return result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <class T> T atomicAdd(T* at, T value) { T old = *at; *at = old + value; return old; }
template <class T> T atomicSub(T* at, T value) { T old = *at; *at = old - value; return old; }
template <class T> T atomicMax(T* at, T value) { T old = *at; *at = value > old ? value : old; return old; }
template <class T> T atomicMin(T* at, T value) { T old = *at; *at = value < old ? value : old; return old; }
template <class T> T atomicExch(T* at, T value) { T old = *at; *at = value; return old; }
template <class T> T atomicCAS(T* at, T wanted, T value) { T old = *at; if (old == wanted) *at = value; return old; }
template <class T> T atomicOr(T* at, T value) { T old = *at; *at = old | value; return old; }
template <class T> T atomicAnd(T* at, T value) { T old = *at; *at = old & value; return old; }
inline unsigned atomicInc(unsigned* at, unsigned most) { unsigned old = *at; *at = old >= most ? 0 : old + 1; return old; }

template <class T> T __ldg(const T* at) { return *at; }
template <class T> T max(T a, T b) { return a > b ? a : b; }
template <class T> T min(T a, T b) { return a < b ? a : b; }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
template <class To, class From> To on_host_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To result;
    memcpy(&result, &x, sizeof x);
    return result;
}
inline long long __double_as_longlong(double x) { return on_host_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return on_host_bits<double>(x); }
inline unsigned __float_as_uint(float x) { return on_host_bits<unsigned>(x); }
inline int __float_as_int(float x) { return on_host_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return on_host_bits<float>(x); }
inline float __int_as_float(int x) { return on_host_bits<float>(x); }
