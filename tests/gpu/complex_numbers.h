// Complex numbers as CuPy's header has them for kernels: the names, and no mixture of types.
template <class T> struct alignas(2 * sizeof(T)) complex {
    T re, im;
    typedef T value_type;
    complex() = default;
    HOST_DEVICE complex(T re, T im = T(0)) : re(re), im(im) {}
    template <class S> HOST_DEVICE explicit complex(const complex<S>& z) : re((T)z.re), im((T)z.im) {}
    HOST_DEVICE T real() const { return re; }
    HOST_DEVICE T imag() const { return im; }
    HOST_DEVICE void real(T x) { re = x; }
    HOST_DEVICE void imag(T x) { im = x; }
    HOST_DEVICE complex& operator+=(const complex& z) { re += z.re; im += z.im; return *this; }
    HOST_DEVICE complex& operator-=(const complex& z) { re -= z.re; im -= z.im; return *this; }
    HOST_DEVICE complex& operator*=(const complex& z) { return *this = *this * z; }
    HOST_DEVICE complex& operator/=(const complex& z) { return *this = *this / z; }
    friend HOST_DEVICE complex operator+(const complex& a, const complex& b) { return complex(a.re + b.re, a.im + b.im); }
    friend HOST_DEVICE complex operator-(const complex& a, const complex& b) { return complex(a.re - b.re, a.im - b.im); }
    friend HOST_DEVICE complex operator*(const complex& a, const complex& b) {
        return complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re);
    }
    friend HOST_DEVICE complex operator/(const complex& a, const complex& b) {
        T large = fabs(b.re) > fabs(b.im) ? fabs(b.re) : fabs(b.im);
        T c = b.re / large, d = b.im / large, square = (c * c + d * d) * large;
        return complex((a.re * c + a.im * d) / square, (a.im * c - a.re * d) / square);
    }
    friend HOST_DEVICE complex operator-(const complex& z) { return complex(-z.re, -z.im); }
    friend HOST_DEVICE complex operator+(const complex& z) { return z; }
    friend HOST_DEVICE bool operator==(const complex& a, const complex& b) { return a.re == b.re && a.im == b.im; }
    friend HOST_DEVICE bool operator!=(const complex& a, const complex& b) { return !(a == b); }
};
template <class T> HOST_DEVICE complex<T> conj(const complex<T>& z) { return complex<T>(z.re, -z.im); }
template <class T> HOST_DEVICE T real(const complex<T>& z) { return z.re; }
template <class T> HOST_DEVICE T imag(const complex<T>& z) { return z.im; }
template <class T> HOST_DEVICE T norm(const complex<T>& z) { return z.re * z.re + z.im * z.im; }
template <class T> HOST_DEVICE T abs(const complex<T>& z) { return (T)hypot((double)z.re, (double)z.im); }
namespace thrust { using ::complex; using ::conj; using ::real; using ::imag; using ::norm; using ::abs; }
