#include "parallel/communicator.h"

namespace bm {
namespace {

class Self final : public Communicator {
 public:
  const char* name() const override { return "one process"; }
  Status barrier() override { return {}; }
  Status broadcast(std::span<std::byte>, int) override { return {}; }
  Status reduce_scatter(float*, std::span<const size_t>) override { return {}; }
  Status all_gather(float*, std::span<const size_t>) override { return {}; }
  Status all_sum(std::span<double>) override { return {}; }
  void end_all(const std::string&) override {}
};

}  // namespace

std::unique_ptr<Communicator> self_communicator() { return std::make_unique<Self>(); }

}  // namespace bm
