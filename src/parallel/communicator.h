// How the ranks of one job talk: six functions, whatever carries them (one process alone, processes of
// one machine over shared memory, MPI). Every rank calls the same functions in the same order with the same
// sizes. Sums are float32 (or double) in the order of the ranks, so they are the same bits in every run.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace bm {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual const char* name() const = 0;  // "one process", "shared memory", "MPI"
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Errors: failed, naming the rank that no longer answers.
  virtual Status barrier() = 0;
  virtual Status broadcast(std::span<std::byte> bytes, int root) = 0;
  // values: the same length on every rank. Elements [starts[r], starts[r + 1]) become the sum over all ranks
  // on rank r; the others are undefined afterwards.
  virtual Status reduce_scatter(float* values, std::span<const size_t> starts) = 0;
  // Rank r's elements [starts[r], starts[r + 1]) appear on every rank.
  virtual Status all_gather(float* values, std::span<const size_t> starts) = 0;
  virtual Status all_sum(std::span<double> values) = 0;
  // Ends all ranks at once after an error of this one.
  virtual void end_all(const std::string& why) = 0;

 protected:
  int rank_ = 0, size_ = 1;
};

// One process: nothing to do.
std::unique_ptr<Communicator> self_communicator();

// The job this process was started in: MPI when it was started by mpirun or srun and MPI was found when
// this program was built, else self. failed: started by mpirun without MPI support.
Result<std::unique_ptr<Communicator>> job_communicator();
bool built_with_mpi();

// Ranks as processes of this machine that talk over shared memory. Forks `ranks` children, each of which runs
// `work` and ends with the code it returns; returns the first code that is not 0, or 0. A child that dies
// ends the others within two seconds; failed names it. Call before any other thread was started.
Result<int> run_local_ranks(int ranks, const std::function<int(Communicator&)>& work);

}  // namespace bm
