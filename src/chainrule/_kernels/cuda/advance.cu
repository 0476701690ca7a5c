// The counters after a step: the number of steps, the next row, and the epoch's sums of cost times weight (for each
// member of a stack) and of the weights. Without weights the batch weighs its number of rows.

extern "C" __global__ void advance(
    int* step, int* cursor, Real* cost, Real* seen, const Real* value, const Real* weight, long long members,
    long long rows, long long weighted) {
  const long long member = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  const Real batch = weighted ? weight[0] : Real(rows);
  if (member < members) cost[member] += value[member] * batch;
  if (member == 0) {
    step[0] += 1;
    cursor[0] += rows;
    seen[0] += batch;
  }
}
