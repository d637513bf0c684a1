// Recipes: YAML of any kind gives a recipe or an error.
#include <string_view>

#include "pipeline/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  auto yaml = bm::parse_yaml(std::string_view(reinterpret_cast<const char*>(data), size));
  if (yaml.ok()) (void)bm::parse_recipe(*yaml).ok();
  return 0;
}
