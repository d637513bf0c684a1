// MPI, when it was found at configure time. Sums are taken by ourselves in the order of the ranks, since
// MPI leaves the order of its own reductions open.
#include <cstdlib>

#include "parallel/communicator.h"

#ifdef BIOMISTRAL_MPI
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>
#endif

namespace bm {
namespace {

// Set by mpirun (Open MPI, MPICH) and srun for every rank of a job.
bool started_as_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (std::getenv(name)) return true;
  return false;
}

#ifdef BIOMISTRAL_MPI

constexpr size_t slice_bytes = size_t{16} << 20;

Status checked(int code, const char* what) {
  if (code == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return failed(std::string(what) + ": " + std::string(text, static_cast<size_t>(length)));
}

class Mpi final : public Communicator {
 public:
  Mpi() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  ~Mpi() override { MPI_Finalize(); }
  const char* name() const override { return "MPI"; }

  Status barrier() override { return checked(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier"); }

  Status broadcast(std::span<std::byte> bytes, int root) override {
    for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
      const size_t n = std::min(slice_bytes, bytes.size() - at);
      BM_CHECK_OK(checked(MPI_Bcast(bytes.data() + at, static_cast<int>(n), MPI_BYTE, root, MPI_COMM_WORLD),
                          "MPI_Bcast"));
    }
    return {};
  }

  Status reduce_scatter(float* values, std::span<const size_t> starts) override {
    const auto ranks = static_cast<size_t>(size_), mine = static_cast<size_t>(rank_);
    const size_t slice = std::max<size_t>(1, slice_bytes / sizeof(float) / ranks);
    size_t longest = 0;
    for (size_t r = 0; r < ranks; ++r) longest = std::max(longest, starts[r + 1] - starts[r]);
    std::vector<float> received(ranks * slice);
    std::vector<int> send_counts(ranks), send_at(ranks), receive_counts(ranks), receive_at(ranks);
    for (size_t at = 0; at < longest; at += slice) {
      const auto length = [&](size_t r) {
        const size_t whole = starts[r + 1] - starts[r];
        return at >= whole ? size_t{0} : std::min(slice, whole - at);
      };
      // One piece a rank, sent where it is summed; displacements within one slice fit an int.
      std::vector<float> sent(ranks * slice);
      for (size_t r = 0; r < ranks; ++r) {
        send_counts[r] = static_cast<int>(length(r));
        receive_counts[r] = static_cast<int>(length(mine));
        send_at[r] = receive_at[r] = static_cast<int>(r * slice);
        std::copy_n(values + starts[r] + std::min(at, starts[r + 1] - starts[r]), length(r),
                    sent.data() + r * slice);
      }
      BM_CHECK_OK(
          checked(MPI_Alltoallv(sent.data(), send_counts.data(), send_at.data(), MPI_FLOAT, received.data(),
                                receive_counts.data(), receive_at.data(), MPI_FLOAT, MPI_COMM_WORLD),
                  "MPI_Alltoallv"));
      float* out = values + starts[mine] + at;
      for (size_t r = 0; r < ranks; ++r)
        for (size_t i = 0; i < length(mine); ++i)
          out[i] = r == 0 ? received[i] : out[i] + received[r * slice + i];
    }
    return {};
  }

  Status all_gather(float* values, std::span<const size_t> starts) override {
    for (int root = 0; root < size_; ++root) {
      const auto r = static_cast<size_t>(root);
      BM_CHECK_OK(broadcast(
          {reinterpret_cast<std::byte*>(values + starts[r]), (starts[r + 1] - starts[r]) * sizeof(float)},
          root));
    }
    return {};
  }

  Status all_sum(std::span<double> values) override {
    const auto n = static_cast<int>(values.size());
    std::vector<double> all(values.size() * static_cast<size_t>(size_));
    BM_CHECK_OK(
        checked(MPI_Allgather(values.data(), n, MPI_DOUBLE, all.data(), n, MPI_DOUBLE, MPI_COMM_WORLD),
                "MPI_Allgather"));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = 0;
      for (size_t r = 0; r < static_cast<size_t>(size_); ++r) values[i] += all[r * values.size() + i];
    }
    return {};
  }

  void end_all(const std::string&) override { MPI_Abort(MPI_COMM_WORLD, 1); }
};

#endif

}  // namespace

#ifdef BIOMISTRAL_MPI

bool built_with_mpi() { return true; }

Result<std::unique_ptr<Communicator>> job_communicator() {
  if (!started_as_rank()) return self_communicator();
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
    return failed("MPI could not be started");
  return std::unique_ptr<Communicator>(std::make_unique<Mpi>());
}

#else

bool built_with_mpi() { return false; }

Result<std::unique_ptr<Communicator>> job_communicator() {
  if (started_as_rank())
    return bad_input("this program was started as a rank of an MPI job, but built without MPI",
                     "Install libopenmpi-dev and build again, or use --ranks on one machine");
  return self_communicator();
}

#endif

}  // namespace bm
