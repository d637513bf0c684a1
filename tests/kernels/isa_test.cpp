#include "kernels/isa.h"

#include <gtest/gtest.h>

#include "kernels/values.h"

namespace bm {
namespace {

TEST(Isa, ScalarIsAlwaysThereAndOneIsChosen) {
  ASSERT_FALSE(isa_list().empty());
  EXPECT_EQ(isa_list()[0].name, "scalar");
  EXPECT_TRUE(isa_list()[0].usable);
  int chosen = 0;
  for (const IsaInfo& info : isa_list()) {
    chosen += info.chosen;
    EXPECT_EQ(info.usable, info.note.empty()) << info.name;
    EXPECT_TRUE(info.usable || !info.chosen);
  }
  EXPECT_EQ(chosen, 1);
}

TEST(Isa, ForcedByName) {
  for (const std::string& name : testing::usable_isas()) {
    ASSERT_TRUE(select_isa(name).ok());
    EXPECT_EQ(isa_name(), name);
  }
  ASSERT_TRUE(select_isa("auto").ok());
  EXPECT_EQ(isa_name(), testing::usable_isas().back());
}

TEST(Isa, UnknownOrMissingIsRefusedAndChangesNothing) {
  const std::string before(isa_name());
  Status unknown = select_isa("avx1024");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code(), Code::bad_input);
  EXPECT_NE(unknown.error().paragraph().find("scalar"), std::string::npos);
  for (const IsaInfo& info : isa_list()) {
    if (info.usable) continue;
    Status missing = select_isa(info.name);
    ASSERT_FALSE(missing.ok());
    EXPECT_NE(missing.error().paragraph().find("lacks"), std::string::npos);
  }
  EXPECT_EQ(isa_name(), before);
}

}  // namespace
}  // namespace bm
