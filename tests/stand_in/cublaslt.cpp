// A stand-in for libcublasLt: the functions, structures and checks of cublasLt.h that a product goes through, on host
// memory and in plain loops. Compiled by tests/test_cublaslt.py. Its checks are the header's and the manual's; what a
// device supports is not known here, so a test says what this one does not.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#ifdef ON_FAKE_CUDA
#include "fake_cuda.h"
#endif

namespace {

enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_64F = 1, R_16BF = 14 };
enum { COMPUTE_32F = 68, COMPUTE_64F = 70, FAST_TF32 = 77 };
enum { DEFAULT = 1, BIAS = 4, RELU_BIAS = 6, BGRADA = 256 };  // epilogues
const uint64_t MAGIC = 0xc0b1a5;

struct Counted {
    static int64_t live;
    Counted() { ++live; }
    Counted(const Counted &) { ++live; }
    ~Counted() { --live; }
};
int64_t Counted::live = 0;

struct Handle : Counted {};

struct Desc : Counted {
    int32_t compute, scale, trans_a = 0, trans_b = 0;
    uint32_t epilogue = DEFAULT;
    char *bias = nullptr;
    int64_t bias_stride = 0;
};

struct Layout : Counted {
    int32_t type;
    uint64_t rows, cols;
    int64_t ld;
    int32_t batch = 1;
    int64_t stride = 0;
};

struct Preference : Counted {
    uint64_t workspace = 0;
    uint32_t alignment[4] = {256, 256, 256, 256};
};

struct Algo {
    uint64_t magic, id, alignment, workspace, unused[4];
};

struct Result {
    Algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Algo) == 64, "cublasLtMatmulAlgo_t");
static_assert(sizeof(Result) == 96, "cublasLtMatmulHeuristicResult_t");

int64_t heuristics = 0, last_algo = -1;
uint32_t lacking = 0, last_alignment[4];
void *last_stream = nullptr;

template <typename T> int put(T &field, const void *buf, size_t size) {
    if (!buf || size != sizeof(T)) return INVALID_VALUE;
    std::memcpy(&field, buf, size);
    return SUCCESS;
}

size_t size_of(int type) { return type == R_64F ? 8 : type == R_32F ? 4 : 2; }

double read(const char *p, int type) {
    if (type == R_64F) return *reinterpret_cast<const double *>(p);
    if (type == R_32F) return *reinterpret_cast<const float *>(p);
    uint32_t bits = static_cast<uint32_t>(*reinterpret_cast<const uint16_t *>(p)) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

void write(char *p, int type, double value) {
    if (type == R_64F) *reinterpret_cast<double *>(p) = value;
    else *reinterpret_cast<float *>(p) = static_cast<float>(value);
}

float tf32(double value) {  // 10 bits of mantissa, to the nearest
    float rounded = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &rounded, 4);
    bits = (bits + 0x1000u) & ~0x1fffu;
    std::memcpy(&rounded, &bits, 4);
    return rounded;
}

bool types_fit(const Desc *desc, const Layout *a, const Layout *b, const Layout *c, const Layout *d) {
    if (a->type != b->type || c->type != d->type) return false;
    if (desc->compute == COMPUTE_64F) return desc->scale == R_64F && a->type == R_64F && d->type == R_64F;
    if (desc->scale != R_32F || d->type != R_32F) return false;
    if (desc->compute == FAST_TF32) return a->type == R_32F;
    return desc->compute == COMPUTE_32F && (a->type == R_32F || a->type == R_16BF);
}

bool shapes_fit(const Desc *desc, const Layout *a, const Layout *b, const Layout *c, const Layout *d) {
    uint64_t m = desc->trans_a ? a->cols : a->rows, k = desc->trans_a ? a->rows : a->cols;
    uint64_t n = desc->trans_b ? b->rows : b->cols, k_b = desc->trans_b ? b->cols : b->rows;
    if (!m || !n || !k || k != k_b || d->rows != m || d->cols != n || c->rows != m || c->cols != n) return false;
    for (const Layout *x : {a, b, c, d})
        if (x->ld < static_cast<int64_t>(x->rows) || x->batch != d->batch) return false;
    return d->batch == 1 || d->stride != 0;
}

int check(const Desc *desc, const Layout *a, const Layout *b, const Layout *c, const Layout *d) {
    if (!desc || !a || !b || !c || !d || !shapes_fit(desc, a, b, c, d)) return INVALID_VALUE;
    const uint32_t epilogue = desc->epilogue;
    if (epilogue != DEFAULT && epilogue != BIAS && epilogue != RELU_BIAS && epilogue != BGRADA) return INVALID_VALUE;
    if (epilogue != DEFAULT && !desc->bias) return INVALID_VALUE;
    if (epilogue == BGRADA && (desc->trans_a || d->batch > 1)) return NOT_SUPPORTED;
    return types_fit(desc, a, b, c, d) && epilogue != lacking ? SUCCESS : NOT_SUPPORTED;
}

bool aligned(const void *p, uint64_t to) { return reinterpret_cast<uint64_t>(p) % to == 0; }

struct Product {
    Desc desc;  // as it is when it is asked for
    Layout a, b, d;
    const char *A, *B;
    char *D;
    double alpha;

    const char *at(const Layout &x, const char *p, uint64_t i, uint64_t j, int batch) const {
        return p + (x.stride * batch + i + j * x.ld) * size_of(x.type);
    }
    double op_a(uint64_t i, uint64_t l, int batch) const {
        double value = desc.trans_a ? read(at(a, A, l, i, batch), a.type) : read(at(a, A, i, l, batch), a.type);
        return desc.compute == FAST_TF32 ? tf32(value) : value;
    }
    double op_b(uint64_t l, uint64_t j, int batch) const {
        double value = desc.trans_b ? read(at(b, B, j, l, batch), b.type) : read(at(b, B, l, j, batch), b.type);
        return desc.compute == FAST_TF32 ? tf32(value) : value;
    }
    char *bias(uint64_t i, int batch) const { return desc.bias + (desc.bias_stride * batch + i) * size_of(d.type); }
    double finished(double value, uint64_t i, int batch) const {
        if (desc.epilogue & BIAS) value += read(bias(i, batch), d.type);
        return desc.epilogue == RELU_BIAS && value < 0 ? 0 : value;
    }

    void matrix(int batch) const {
        const uint64_t m = d.rows, depth = desc.trans_a ? a.rows : a.cols;
        std::vector<double> op(m * depth), sums(m);
        for (uint64_t l = 0; l < depth; ++l)
            for (uint64_t i = 0; i < m; ++i) op[l * m + i] = op_a(i, l, batch);
        for (uint64_t j = 0; j < d.cols; ++j) {
            sums.assign(m, 0);
            for (uint64_t l = 0; l < depth; ++l) {
                const double value = op_b(l, j, batch);
                for (uint64_t i = 0; i < m; ++i) sums[i] += op[l * m + i] * value;
            }
            for (uint64_t i = 0; i < m; ++i)
                write(const_cast<char *>(at(d, D, i, j, batch)), d.type, finished(sums[i] * alpha, i, batch));
        }
        for (uint64_t i = 0; desc.epilogue == BGRADA && i < m; ++i) {  // the sums of op(A) over the product's depth
            double sum = 0;
            for (uint64_t l = 0; l < depth; ++l) sum += op[l * m + i];
            write(bias(i, batch), d.type, sum);
        }
    }
    void run() const {
        for (int batch = 0; batch < d.batch; ++batch) matrix(batch);
    }
};

// At once; on the fake CUDA (tests/fake_cuda) when the stream's turn comes.
int enqueue(const Product &product, void *stream) {
#ifdef ON_FAKE_CUDA
    auto run = [](void *data) { static_cast<Product *>(data)->run(); };
    auto drop = [](void *data) { delete static_cast<Product *>(data); };
    return fake_cuda_enqueue(stream, "cublasLtMatmul", run, new Product(product), drop) ? EXECUTION_FAILED : SUCCESS;
#else
    last_stream = stream;
    return product.run(), SUCCESS;
#endif
}

}  // namespace

extern "C" {

int64_t stand_in_live() { return Counted::live; }
int64_t stand_in_heuristics() { return heuristics; }
int64_t stand_in_last_algo() { return last_algo; }
uint32_t stand_in_last_alignment(int matrix) { return last_alignment[matrix]; }
void *stand_in_last_stream() { return last_stream; }
void stand_in_lacks(uint32_t epilogue) { lacking = epilogue; }

const char *cublasLtGetStatusName(int status) {
    if (status == INVALID_VALUE) return "CUBLAS_STATUS_INVALID_VALUE";
    return status == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_OTHER";
}

int cublasLtCreate(void **handle) { return *handle = new Handle, SUCCESS; }
int cublasLtDestroy(void *handle) { return delete static_cast<Handle *>(handle), SUCCESS; }

int cublasLtMatmulDescCreate(void **made, int compute, int scale) {
    Desc *desc = new Desc;
    desc->compute = compute, desc->scale = scale;
    return *made = desc, SUCCESS;
}
int cublasLtMatmulDescDestroy(void *desc) { return delete static_cast<Desc *>(desc), SUCCESS; }
int cublasLtMatmulDescSetAttribute(void *made, int attribute, const void *buf, size_t size) {
    Desc *desc = static_cast<Desc *>(made);
    switch (attribute) {
        case 3: return put(desc->trans_a, buf, size);
        case 4: return put(desc->trans_b, buf, size);
        case 7: return put(desc->epilogue, buf, size);
        case 8: return put(desc->bias, buf, size);
        case 10: return put(desc->bias_stride, buf, size);
        default: return INVALID_VALUE;
    }
}

int cublasLtMatrixLayoutCreate(void **made, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    Layout *layout = new Layout;
    layout->type = type, layout->rows = rows, layout->cols = cols, layout->ld = ld;
    return *made = layout, SUCCESS;
}
int cublasLtMatrixLayoutDestroy(void *layout) { return delete static_cast<Layout *>(layout), SUCCESS; }
int cublasLtMatrixLayoutSetAttribute(void *made, int attribute, const void *buf, size_t size) {
    Layout *layout = static_cast<Layout *>(made);
    switch (attribute) {
        case 5: return put(layout->batch, buf, size);
        case 6: return put(layout->stride, buf, size);
        default: return INVALID_VALUE;
    }
}

int cublasLtMatmulPreferenceCreate(void **made) { return *made = new Preference, SUCCESS; }
int cublasLtMatmulPreferenceDestroy(void *made) { return delete static_cast<Preference *>(made), SUCCESS; }
int cublasLtMatmulPreferenceSetAttribute(void *made, int attribute, const void *buf, size_t size) {
    Preference *preference = static_cast<Preference *>(made);
    if (attribute == 1) return put(preference->workspace, buf, size);
    if (attribute < 5 || attribute > 8) return INVALID_VALUE;
    return put(preference->alignment[attribute - 5], buf, size);
}

// The first of what is found is unfit, as its state says. The second wants all that it touches on 16 bytes, the third
// workspace, the fourth nothing.
int cublasLtMatmulAlgoGetHeuristic(void *handle, const Desc *desc, const Layout *a, const Layout *b, const Layout *c,
                                   const Layout *d, const Preference *preference, int asked, Result results[],
                                   int *found) {
    ++heuristics;
    if (!handle) return NOT_INITIALIZED;
    if (!preference || !results || !found || asked < 1) return INVALID_VALUE;
    if (int status = check(desc, a, b, c, d)) return status;
    std::memcpy(last_alignment, preference->alignment, sizeof last_alignment);
    bool on_16 = aligned(desc->bias, 16);
    const Layout *layouts[] = {a, b, c, d};
    for (int i = 0; i < 4; ++i)
        on_16 = on_16 && preference->alignment[i] % 16 == 0 && layouts[i]->ld * size_of(layouts[i]->type) % 16 == 0;
    const Algo all[] = {{MAGIC, 0, 16, 0, {}}, {MAGIC, 1, 1, 1024, {}}, {MAGIC, 2, 1, 0, {}}};
    results[0] = {{}, 0, NOT_SUPPORTED, 0.0f, {}};
    *found = 1;
    for (const Algo &algo : all)
        if (*found < asked && (algo.alignment == 1 || on_16) && algo.workspace <= preference->workspace)
            results[(*found)++] = {algo, algo.workspace, SUCCESS, 1.0f, {}};
    return SUCCESS;
}

int cublasLtMatmul(void *handle, const Desc *desc, const void *alpha, const void *A, const Layout *a, const void *B,
                   const Layout *b, const void *beta, const void *C, const Layout *c, void *D, const Layout *d,
                   const Algo *algo, void *workspace, size_t workspace_size, void *stream) {
    if (!handle) return NOT_INITIALIZED;
    if (int status = check(desc, a, b, c, d)) return status;
    if (!alpha || !beta || !A || !B || !C || !D || !algo || algo->magic != MAGIC) return INVALID_VALUE;
    if (algo->workspace > workspace_size || (algo->workspace && (!workspace || !aligned(workspace, 16))))
        return INVALID_VALUE;
    for (const void *p : {A, B, C, const_cast<const void *>(D), static_cast<const void *>(desc->bias)})
        if (!aligned(p, algo->alignment)) return INVALID_VALUE;
    if (read(static_cast<const char *>(beta), desc->scale) != 0) return NOT_SUPPORTED;
    if (algo->workspace) std::memset(workspace, 0xff, algo->workspace);
    last_algo = algo->id;
    return enqueue({*desc, *a, *b, *d, static_cast<const char *>(A), static_cast<const char *>(B),
                    static_cast<char *>(D), read(static_cast<const char *>(alpha), desc->scale)},
                   stream);
}

}  // extern "C"
