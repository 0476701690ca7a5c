// What the fake libraries share: the way onto a stream of the fake CUDA's, and what is free on its devices.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// Does ``work(data)`` when the stream's turn comes, and at each launch of its graph if it is captured; then ``drop``.
int fake_cuda_enqueue(void *stream, const char *name, void (*work)(void *), void *data, void (*drop)(void *));

size_t fake_cuda_used(int device);
size_t fake_cuda_free(int device);
void fake_cuda_others_take(int device, size_t size);  // as if another process had so many bytes
int64_t fake_cuda_launches();                         // of kernels, those of a capture once
int64_t fake_cuda_waits();                            // of the host's for a stream
int fake_cuda_current();

}  // extern "C"
