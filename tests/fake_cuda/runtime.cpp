// CUDA's runtime and driver on the host: two devices whose memory is the host's, and streams that do their work as late
// as CUDA may. CuPy's own code runs on it unchanged. The header's declarations are NVIDIA's, so a signature that differs
// does not compile. A kernel is a function of a shared library, which nvrtc.cpp had g++ make.
//
// Stricter than a GPU: nothing asynchronous is done before somebody waits for it; page-locked memory is read when a
// copy's turn comes; memory is NaN when it is new and when it is freed; no device reaches the other's memory.

#include "fake_cuda.h"

#include <cuda.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int DEVICES = 2;
constexpr size_t CAPACITY = 8ull << 30, QUEUED = 10000;  // bytes of a device; what waits on a stream at the most
constexpr int SHARED = 48 << 10, MOST_SHARED = 227 << 10;  // bytes of a block, without asking for more and at most

struct Node {
    std::string name;
    std::function<void()> work;
};
typedef std::vector<Node> Graph;

struct Stream {
    int device;
    unsigned flags;
    bool null = false;
    std::deque<Node> queue = {};
    uint64_t done = 0;
    Graph *graph = nullptr;  // while it is captured
    bool broken = false;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;

    bool blocking() const { return !null && !(flags & cudaStreamNonBlocking); }
    uint64_t queued() const { return done + queue.size(); }
    void drain(uint64_t place) {
        while (done < place && !queue.empty()) {
            Node next = std::move(queue.front());
            queue.pop_front();
            done++;
            next.work();
        }
    }
    void drain() { drain(queued()); }
};

struct Event {
    Stream *stream;  // streams outlive their end: what waits for one that is gone finds it done
    uint64_t place;
};

struct Block {
    size_t size;
    int device;
};

std::recursive_mutex lock;
typedef std::lock_guard<std::recursive_mutex> Locked;
thread_local int current = 0;
Stream null_streams[DEVICES] = {{0, 0, true}, {1, 0, true}};
std::set<Stream *> streams;
std::map<char *, Block> device_memory, pinned_memory;
size_t used[DEVICES], taken[DEVICES];  // by this process, and by others
int64_t launches = 0, waits = 0;
bool failed = false;

// The block that an address lies in, or null.
const Block *find(const std::map<char *, Block> &memory, const void *p) {
    auto next = memory.upper_bound(static_cast<char *>(const_cast<void *>(p)));
    if (next == memory.begin()) return nullptr;
    auto found = std::prev(next);
    return static_cast<const char *>(p) < found->first + found->second.size ? &found->second : nullptr;
}

size_t free_bytes(int device) { return CAPACITY - used[device] - taken[device]; }

Stream *stream_of(void *handle) {
    size_t number = reinterpret_cast<size_t>(handle);
    if (number <= 1) return &null_streams[current];
    Stream *stream = static_cast<Stream *>(handle);
    return streams.count(stream) ? stream : nullptr;
}

void drain_device(int device) {
    for (Stream *stream : streams)
        if (stream->device == device) stream->drain();
    null_streams[device].drain();
}

// What the null stream waits for, and what waits for it.
cudaError_t follow_legacy_order(Stream *stream) {
    if (!stream->null) {
        if (stream->blocking()) null_streams[stream->device].drain();
        return cudaSuccess;
    }
    for (Stream *other : streams)
        if (other->device == stream->device && other->blocking()) {
            if (other->graph) return other->broken = true, cudaErrorStreamCaptureImplicit;
            other->drain();
        }
    return cudaSuccess;
}

cudaError_t enqueue(void *handle, const char *name, std::function<void()> work) {
    if (failed) return cudaErrorLaunchFailure;
    Stream *stream = stream_of(handle);
    if (!stream || stream->device != current) return cudaErrorInvalidResourceHandle;
    if (stream->graph) return stream->graph->push_back({name, work}), cudaSuccess;
    if (cudaError_t error = follow_legacy_order(stream)) return error;
    stream->queue.push_back({name, work});
    if (stream->queue.size() > QUEUED) stream->drain();
    return cudaSuccess;
}

// A call that waits, or that might: not while a stream is captured that says so.
cudaError_t unsafe() {
    for (Stream *stream : streams)
        if (stream->graph && stream->mode != cudaStreamCaptureModeRelaxed)
            return stream->broken = true, cudaErrorStreamCaptureUnsupported;
    return cudaSuccess;
}

cudaError_t wait(Stream *stream) {
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->graph) return stream->broken = true, cudaErrorStreamCaptureUnsupported;
    if (cudaError_t error = follow_legacy_order(stream)) return error;
    stream->drain();
    waits++;
    return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

// From memory that is not page-locked CUDA has read when the call returns, and into such memory it has written.
cudaError_t copy(void *to, const void *from, size_t size, void *handle) {
    const Block *source = find(device_memory, from), *target = find(device_memory, to);
    const bool from_host = !source, to_host = !target;
    Stream *stream = stream_of(handle);
    // On the null stream a copy between devices begins when both are done.
    if (stream && stream->null && source && target && source->device != target->device) drain_device(source->device);
    if (stream && !stream->graph && from_host && !find(pinned_memory, from)) {
        auto bytes = std::make_shared<std::vector<char>>(
            static_cast<const char *>(from), static_cast<const char *>(from) + size);
        return enqueue(handle, "MEMCPY", [=] { std::memcpy(to, bytes->data(), size); });
    }
    cudaError_t error = enqueue(handle, "MEMCPY", [=] { std::memmove(to, from, size); });
    if (!error && to_host && !find(pinned_memory, to) && !stream->graph) stream->drain();
    return error;
}

// ---------------------------------------------------------------------------------------------------------- kernels

typedef const char *(*Launch)(const unsigned *size, size_t shared, void **parameters);
typedef int (*Sizes)(int *sizes);

struct Kernel {
    std::string name;
    Launch launch;
    std::vector<int> sizes;
    int most_shared = SHARED;
};

struct Call {
    Kernel *kernel;
    unsigned size[6];
    size_t shared;
    std::vector<std::vector<char>> parameters;

    void run() {
        std::vector<void *> at;
        for (auto &one : parameters) at.push_back(one.data());
        const char *said = kernel->launch(size, shared, at.data());
        if (!*said) return;
        std::fprintf(stderr, "kernel %s: %s\n", kernel->name.c_str(), said);
        failed = true;
    }
};

size_t elf_size(const void *image) {
    const Elf64_Ehdr *header = static_cast<const Elf64_Ehdr *>(image);
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG)) return 0;
    return header->e_shoff + static_cast<size_t>(header->e_shnum) * header->e_shentsize;
}

}  // namespace

extern "C" {

// ------------------------------------------------------------------------------------------- what tests ask and set

int fake_cuda_enqueue(void *stream, const char *name, void (*work)(void *), void *data, void (*drop)(void *)) {
    Locked locked(lock);
    std::shared_ptr<void> kept(data, drop);
    return enqueue(stream, name, [=] { work(kept.get()); });
}
size_t fake_cuda_used(int device) { return used[device]; }
size_t fake_cuda_free(int device) { return free_bytes(device); }
void fake_cuda_others_take(int device, size_t size) { taken[device] = size; }
int64_t fake_cuda_launches() { return launches; }
int64_t fake_cuda_waits() { return waits; }
int fake_cuda_current() { return current; }

// ----------------------------------------------------------------------------------------------- errors and devices

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorPeerAccessUnsupported: return "cudaErrorPeerAccessUnsupported";
        case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
        case cudaErrorIllegalState: return "cudaErrorIllegalState";
        case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
        case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
        case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
        case cudaErrorStreamCaptureImplicit: return "cudaErrorStreamCaptureImplicit";
        default: return "cudaErrorNotSupported";
    }
}
const char *cudaGetErrorString(cudaError_t) { return "said by the fake CUDA"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }

cudaError_t cudaGetDeviceCount(int *count) { return *count = DEVICES, cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { return *device = current, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= DEVICES) return cudaErrorInvalidDevice;
    return current = device, cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: return *value = 9, cudaSuccess;
        case cudaDevAttrMultiProcessorCount: return *value = 132, cudaSuccess;
        case cudaDevAttrMaxThreadsPerBlock: return *value = 1024, cudaSuccess;
        case cudaDevAttrWarpSize: return *value = 32, cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlock: return *value = SHARED, cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: return *value = MOST_SHARED, cudaSuccess;
        default: return *value = 0, cudaSuccess;
    }
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
    std::memset(properties, 0, sizeof *properties);
    std::strcpy(properties->name, "fake");
    properties->major = 9, properties->warpSize = 32, properties->multiProcessorCount = 132;
    properties->totalGlobalMem = CAPACITY, properties->maxThreadsPerBlock = 1024;
    properties->sharedMemPerBlock = SHARED, properties->sharedMemPerBlockOptin = MOST_SHARED;
    return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int *can, int, int) { return *can = 0, cudaSuccess; }
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaErrorPeerAccessUnsupported; }
cudaError_t cudaDeviceSynchronize() {
    Locked locked(lock);
    for (Stream *stream : streams)
        if (stream->graph && stream->device == current)
            return stream->broken = true, cudaErrorStreamCaptureUnsupported;
    drain_device(current);
    return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

// ------------------------------------------------------------------------------------------------------------ memory

cudaError_t cudaMalloc(void **made, size_t size) {
    Locked locked(lock);
    if (cudaError_t error = unsafe()) return error;
    if (size > free_bytes(current)) return cudaErrorMemoryAllocation;
    size_t room = (size + 511) / 512 * 512;
    char *p = static_cast<char *>(std::aligned_alloc(512, room));
    if (!p) return cudaErrorMemoryAllocation;
    std::memset(p, 0xff, room);
    device_memory[p] = {size, current};
    used[current] += size;
    return *made = p, cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    Locked locked(lock);
    if (!p) return cudaSuccess;
    if (cudaError_t error = unsafe()) return error;
    auto found = device_memory.find(static_cast<char *>(p));
    if (found == device_memory.end()) return cudaErrorInvalidValue;
    drain_device(found->second.device);
    std::memset(p, 0xff, found->second.size);
    used[found->second.device] -= found->second.size;
    device_memory.erase(found);
    std::free(p);
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **made, size_t size, unsigned) {
    Locked locked(lock);
    char *p = static_cast<char *>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096));
    if (!p) return cudaErrorMemoryAllocation;
    pinned_memory[p] = {size, -1};
    return *made = p, cudaSuccess;
}
cudaError_t cudaFreeHost(void *p) {
    Locked locked(lock);
    for (int device = 0; device < DEVICES; device++) drain_device(device);
    pinned_memory.erase(static_cast<char *>(p));
    std::free(p);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    return *total = CAPACITY, *available = free_bytes(current), cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *p) {
    Locked locked(lock);
    std::memset(attributes, 0, sizeof *attributes);
    const Block *block = find(device_memory, p);
    attributes->type = block ? cudaMemoryTypeDevice
                             : find(pinned_memory, p) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    attributes->device = block ? block->device : current;
    attributes->devicePointer = attributes->hostPointer = const_cast<void *>(p);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, cudaMemcpyKind) {
    Locked locked(lock);
    if (cudaError_t error = unsafe()) return error;
    cudaError_t error = copy(to, from, size, nullptr);
    return error ? error : wait(&null_streams[current]);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, cudaMemcpyKind, cudaStream_t stream) {
    Locked locked(lock);
    return copy(to, from, size, stream);
}
cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t size, cudaStream_t stream) {
    Locked locked(lock);
    return copy(to, from, size, stream);
}
cudaError_t cudaMemcpyPeer(void *to, int, const void *from, int source, size_t size) {
    Locked locked(lock);
    drain_device(source);
    drain_device(current);
    std::memcpy(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t size, cudaStream_t stream) {
    Locked locked(lock);
    return enqueue(stream, "MEMSET", [=] { std::memset(to, value, size); });
}
cudaError_t cudaMemset(void *to, int value, size_t size) { return cudaMemsetAsync(to, value, size, nullptr); }

// ------------------------------------------------------------------------------------------------ streams and events

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *made, unsigned flags, int) {
    Locked locked(lock);
    Stream *stream = new Stream{current, flags};
    streams.insert(stream);
    return *made = reinterpret_cast<cudaStream_t>(stream), cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *made, unsigned flags) {
    return cudaStreamCreateWithPriority(made, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t *made) { return cudaStreamCreateWithPriority(made, 0, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
    Locked locked(lock);
    Stream *stream = stream_of(handle);
    if (!stream || stream->null) return cudaErrorInvalidResourceHandle;
    stream->drain();
    streams.erase(stream);
    return cudaSuccess;
}
cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned *flags) {
    Locked locked(lock);
    Stream *stream = stream_of(handle);
    return stream ? (*flags = stream->flags, cudaSuccess) : cudaErrorInvalidResourceHandle;
}
cudaError_t cudaStreamGetPriority(cudaStream_t, int *priority) { return *priority = 0, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    Locked locked(lock);
    return wait(stream_of(handle));
}
cudaError_t cudaStreamQuery(cudaStream_t handle) { return cudaStreamSynchronize(handle); }
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t awaited, unsigned) {
    Locked locked(lock);
    Event event = *reinterpret_cast<Event *>(awaited);  // what it stands for now
    if (!event.stream) return cudaSuccess;
    return enqueue(handle, "WAIT", [=] { event.stream->drain(event.place); });
}
cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    Locked locked(lock);
    Stream *stream = stream_of(handle);
    if (!stream || stream->null) return cudaErrorStreamCaptureUnsupported;
    if (stream->graph) return cudaErrorIllegalState;
    stream->graph = new Graph, stream->broken = false, stream->mode = mode;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *made) {
    Locked locked(lock);
    Stream *stream = stream_of(handle);
    *made = nullptr;
    if (!stream || !stream->graph) return cudaErrorIllegalState;
    std::unique_ptr<Graph> graph(std::exchange(stream->graph, nullptr));
    if (stream->broken) return cudaErrorStreamCaptureInvalidated;
    return *made = reinterpret_cast<cudaGraph_t>(graph.release()), cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status) {
    Locked locked(lock);
    Stream *stream = stream_of(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    *status = !stream->graph ? cudaStreamCaptureStatusNone
              : stream->broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *made) {
    return *made = reinterpret_cast<cudaEvent_t>(new Event{nullptr, 0}), cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *made, unsigned) { return cudaEventCreate(made); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete reinterpret_cast<Event *>(event), cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
    Locked locked(lock);
    Stream *stream = stream_of(handle);
    if (!stream || stream->device != current) return cudaErrorInvalidResourceHandle;
    if (stream->graph) return stream->broken = true, cudaErrorStreamCaptureUnsupported;  // CUDA could; this cannot
    *reinterpret_cast<Event *>(event) = {stream, stream->queued()};
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
    Locked locked(lock);
    Event *event = reinterpret_cast<Event *>(handle);
    if (event->stream) event->stream->drain(event->place);
    return failed ? cudaErrorLaunchFailure : cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t handle) { return cudaEventSynchronize(handle); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t, cudaEvent_t) {
    return *milliseconds = 1, cudaSuccess;
}

// ------------------------------------------------------------------------------------------------------------- graphs

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *made, cudaGraph_t graph, unsigned long long) {
    return *made = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph *>(graph))), cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream) {
    Locked locked(lock);
    Graph graph = *reinterpret_cast<Graph *>(handle);
    return enqueue(stream, "GRAPH", [=] {
        for (const Node &node : graph) node.work();
    });
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete reinterpret_cast<Graph *>(graph), cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return delete reinterpret_cast<Graph *>(graph), cudaSuccess; }
cudaError_t cudaGraphDebugDotPrint(cudaGraph_t graph, const char *path, unsigned) {
    std::FILE *file = std::fopen(path, "w");
    std::fputs("digraph dot {\n", file);
    for (const Node &node : *reinterpret_cast<Graph *>(graph)) std::fprintf(file, "node [label=\"%s\"]\n", node.name.c_str());
    std::fputs("}\n", file);
    std::fclose(file);
    return cudaSuccess;
}

// ------------------------------------------------------------------------------------------------------------- driver

CUresult cuGetErrorName(CUresult, const char **name) { return *name = "CUDA_ERROR_OF_THE_FAKE", CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult, const char **text) { return *text = "said by the fake CUDA", CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) {
    return *context = reinterpret_cast<CUcontext>(&null_streams[current]), CUDA_SUCCESS;
}

// The image is a shared library of the host's.
CUresult cuModuleLoadData(CUmodule *made, const void *image) {
    size_t size = elf_size(image);
    int file = memfd_create("kernels", 0);
    if (!size || file < 0 || write(file, image, size) != static_cast<ssize_t>(size)) return CUDA_ERROR_INVALID_IMAGE;
    std::string path = "/proc/self/fd/" + std::to_string(file);
    *made = static_cast<CUmodule>(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
    if (!*made) std::fprintf(stderr, "%s\n", dlerror());
    return *made ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;  // the file stays open: by its path the loader knows it
}
CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *made, CUmodule module, const char *name) {
    auto launch = reinterpret_cast<Launch>(dlsym(module, (std::string("launch_") + name).c_str()));
    auto count = reinterpret_cast<Sizes>(dlsym(module, (std::string("sizes_") + name).c_str()));
    if (!launch || !count) return CUDA_ERROR_NOT_FOUND;
    int sizes[256];
    int number = count(sizes);
    *made = reinterpret_cast<CUfunction>(new Kernel{name, launch, {sizes, sizes + number}});
    return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    bool shared = attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    return *value = shared ? reinterpret_cast<Kernel *>(function)->most_shared : 0, CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
    if (value > MOST_SHARED) return CUDA_ERROR_INVALID_VALUE;
    return reinterpret_cast<Kernel *>(function)->most_shared = value, CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction, int, size_t) {
    return *blocks = 4, CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void **parameters, void **) {
    Locked locked(lock);
    Kernel *kernel = reinterpret_cast<Kernel *>(function);
    if (static_cast<int>(shared) > kernel->most_shared) return CUDA_ERROR_INVALID_VALUE;
    auto call = std::make_shared<Call>(Call{kernel, {gx, gy, gz, bx, by, bz}, shared, {}});
    for (size_t i = 0; i < kernel->sizes.size(); i++) {
        const char *at = static_cast<const char *>(parameters[i]);
        call->parameters.emplace_back(at, at + kernel->sizes[i]);
    }
    launches++;
    return static_cast<CUresult>(enqueue(stream, kernel->name.c_str(), [=] { call->run(); }));
}

cudaError_t cudaProfilerStart() { return cudaSuccess; }
cudaError_t cudaProfilerStop() { return cudaSuccess; }

}  // extern "C"
