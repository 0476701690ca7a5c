// The functions of cuBLAS that CuPy calls for real matrices and vectors, in plain loops on the stream's turn. What else
// CuPy's module asks for at its import answers that it is not supported (build.py).

#include "fake_cuda.h"

#include <vector>

namespace {

enum { SUCCESS = 0, NOT_INITIALIZED = 1, EXECUTION_FAILED = 13 };
enum { R_32F = 0, R_64F = 1 };
constexpr size_t TAKES = 8 << 20;  // bytes of a device for a handle: cuBLAS does not start without

struct Handle {
    void *stream = nullptr;
    int pointer_mode = 0, math_mode = 0;
};

double read(const void *p, int64_t i, int type) {
    return type == R_64F ? static_cast<const double *>(p)[i] : static_cast<const float *>(p)[i];
}
void write(void *p, int64_t i, int type, double value) {
    if (type == R_64F) static_cast<double *>(p)[i] = value;
    else static_cast<float *>(p)[i] = static_cast<float>(value);
}

template <class Work> int enqueue(void *handle, const char *name, Work work) {
    auto run = [](void *data) { static_cast<Work *>(data)->run(); };
    auto drop = [](void *data) { delete static_cast<Work *>(data); };
    int error = fake_cuda_enqueue(static_cast<Handle *>(handle)->stream, name, run, new Work(work), drop);
    return error ? EXECUTION_FAILED : SUCCESS;
}

// C = alpha op(A) op(B) + beta C, column by column, for each matrix of a stack.
struct Product {
    int trans_a, trans_b;
    int64_t m, n, k;
    const void *A, *B;
    void *C;
    int type;
    int64_t lda, ldb, ldc, step_a, step_b, step_c;
    int number;
    double alpha, beta;

    void run() const {
        std::vector<double> a(m * k), sums(m);
        for (int batch = 0; batch < number; batch++) {
            for (int64_t l = 0; l < k; l++)
                for (int64_t i = 0; i < m; i++)
                    a[l * m + i] = read(A, batch * step_a + (trans_a ? l + i * lda : i + l * lda), type);
            for (int64_t j = 0; j < n; j++) {
                sums.assign(m, 0);
                for (int64_t l = 0; l < k; l++) {
                    double b = read(B, batch * step_b + (trans_b ? j + l * ldb : l + j * ldb), type);
                    for (int64_t i = 0; i < m; i++) sums[i] += a[l * m + i] * b;
                }
                for (int64_t i = 0; i < m; i++) {
                    int64_t at = batch * step_c + i + j * ldc;
                    write(C, at, type, alpha * sums[i] + (beta ? beta * read(C, at, type) : 0));
                }
            }
        }
    }
};

struct Dot {
    int64_t n, step_x, step_y;
    const void *x, *y;
    void *result;
    int type;

    void run() const {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += read(x, i * step_x, type) * read(y, i * step_y, type);
        write(result, 0, type, sum);
    }
};

}  // namespace

extern "C" {

int cublasCreate_v2(void **made) {
    if (fake_cuda_free(fake_cuda_current()) < TAKES) return NOT_INITIALIZED;
    return *made = new Handle, SUCCESS;
}
int cublasDestroy_v2(void *handle) { return delete static_cast<Handle *>(handle), SUCCESS; }
int cublasGetVersion_v2(void *, int *version) { return *version = 130000, SUCCESS; }
int cublasSetStream_v2(void *handle, void *stream) {
    return static_cast<Handle *>(handle)->stream = stream, SUCCESS;
}
int cublasGetStream_v2(void *handle, void **stream) {
    return *stream = static_cast<Handle *>(handle)->stream, SUCCESS;
}
int cublasSetPointerMode_v2(void *handle, int mode) {
    return static_cast<Handle *>(handle)->pointer_mode = mode, SUCCESS;
}
int cublasGetPointerMode_v2(void *handle, int *mode) {
    return *mode = static_cast<Handle *>(handle)->pointer_mode, SUCCESS;
}
int cublasSetMathMode(void *handle, int mode) { return static_cast<Handle *>(handle)->math_mode = mode, SUCCESS; }
int cublasGetMathMode(void *handle, int *mode) { return *mode = static_cast<Handle *>(handle)->math_mode, SUCCESS; }

int cublasSgemm_v2(void *handle, int ta, int tb, int m, int n, int k, const float *alpha, const float *A, int lda,
                   const float *B, int ldb, const float *beta, float *C, int ldc) {
    return enqueue(handle, "cublasSgemm",
                   Product{ta, tb, m, n, k, A, B, C, R_32F, lda, ldb, ldc, 0, 0, 0, 1, *alpha, *beta});
}
int cublasDgemm_v2(void *handle, int ta, int tb, int m, int n, int k, const double *alpha, const double *A, int lda,
                   const double *B, int ldb, const double *beta, double *C, int ldc) {
    return enqueue(handle, "cublasDgemm",
                   Product{ta, tb, m, n, k, A, B, C, R_64F, lda, ldb, ldc, 0, 0, 0, 1, *alpha, *beta});
}
int cublasGemmEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *A, int type, int lda,
                 const void *B, int, int ldb, const void *beta, void *C, int, int ldc, int, int) {
    return enqueue(handle, "cublasGemmEx",
                   Product{ta, tb, m, n, k, A, B, C, type, lda, ldb, ldc, 0, 0, 0, 1, read(alpha, 0, type),
                           read(beta, 0, type)});
}
int cublasSgemmEx(void *handle, int ta, int tb, int m, int n, int k, const float *alpha, const void *A, int type,
                  int lda, const void *B, int, int ldb, const float *beta, void *C, int, int ldc) {
    return enqueue(handle, "cublasSgemmEx",
                   Product{ta, tb, m, n, k, A, B, C, type, lda, ldb, ldc, 0, 0, 0, 1, *alpha, *beta});
}
int cublasGemmStridedBatchedEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *A,
                               int type, int lda, long long step_a, const void *B, int, int ldb, long long step_b,
                               const void *beta, void *C, int, int ldc, long long step_c, int number, int, int) {
    return enqueue(handle, "cublasGemmStridedBatchedEx",
                   Product{ta, tb, m, n, k, A, B, C, type, lda, ldb, ldc, step_a, step_b, step_c, number,
                           read(alpha, 0, type), read(beta, 0, type)});
}
int cublasSgemmStridedBatched(void *handle, int ta, int tb, int m, int n, int k, const float *alpha, const float *A,
                              int lda, long long step_a, const float *B, int ldb, long long step_b, const float *beta,
                              float *C, int ldc, long long step_c, int number) {
    return enqueue(handle, "cublasSgemmStridedBatched",
                   Product{ta, tb, m, n, k, A, B, C, R_32F, lda, ldb, ldc, step_a, step_b, step_c, number, *alpha, *beta});
}
int cublasDgemmStridedBatched(void *handle, int ta, int tb, int m, int n, int k, const double *alpha, const double *A,
                              int lda, long long step_a, const double *B, int ldb, long long step_b, const double *beta,
                              double *C, int ldc, long long step_c, int number) {
    return enqueue(handle, "cublasDgemmStridedBatched",
                   Product{ta, tb, m, n, k, A, B, C, R_64F, lda, ldb, ldc, step_a, step_b, step_c, number, *alpha, *beta});
}
int cublasSdot_v2(void *handle, int n, const float *x, int step_x, const float *y, int step_y, float *result) {
    return enqueue(handle, "cublasSdot", Dot{n, step_x, step_y, x, y, result, R_32F});
}
int cublasDdot_v2(void *handle, int n, const double *x, int step_x, const double *y, int step_y, double *result) {
    return enqueue(handle, "cublasDdot", Dot{n, step_x, step_y, x, y, result, R_64F});
}

}  // extern "C"
