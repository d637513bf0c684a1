// transformers' apply_chat_template on five published templates and 14 conversations.
#include "support.h"

namespace bm {
namespace {

using testing::read_lines;
using testing::shared_path;
using testing::source_path;

// A tokenizer that only knows a template and the names of its tokens.
class TemplateOnly : public Tokenizer {
 public:
  std::string source, bos, eos;
  std::vector<int32_t> encode(std::string_view, const EncodeOptions&) const override { return {}; }
  Encoding encode_with_offsets(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string decode(std::span<const int32_t>, bool) const override { return {}; }
  int64_t vocabulary_size() const override { return 2; }
  std::optional<int32_t> token_id(std::string_view) const override { return {}; }
  std::string token_text(int32_t id) const override { return id == 0 ? bos : eos; }
  bool is_special(int32_t) const override { return true; }
  std::optional<int32_t> bos_id() const override { return 0; }
  std::optional<int32_t> eos_id() const override { return 1; }
  const std::string& chat_template() const override { return source; }
};

class ChatTemplates : public ::testing::TestWithParam<const char*> {};

TEST_P(ChatTemplates, RendersAsTransformers) {
  std::string folder = source_path("tests/parity/tokenizer/data/chat_templates/");
  auto source = read_file(folder + GetParam() + ".jinja");
  ASSERT_TRUE(source) << source.error().paragraph();
  TemplateOnly tokenizer;
  tokenizer.source = *source;
  auto lines = read_lines(folder + GetParam() + ".jsonl");
  EXPECT_EQ(lines.size(), 29u);
  for (const Json& line : lines) {
    tokenizer.bos = line["bos_token"].as_string();
    tokenizer.eos = line["eos_token"].as_string();
    ChatOptions options;
    if (line.contains("continue_final_message"))
      options.continue_final_message = line["continue_final_message"].as_bool();
    if (line.contains("add_generation_prompt"))
      options.add_generation_prompt = line["add_generation_prompt"].as_bool();
    auto text = tokenizer.render_chat(line["messages"], options);
    if (line.contains("error")) {
      ASSERT_FALSE(text) << line.dump();
      ASSERT_EQ(text.error().what(), line["error"].as_string());
    } else {
      ASSERT_TRUE(text) << text.error().paragraph();
      ASSERT_EQ(*text, line["rendered"].as_string()) << line.dump();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Published, ChatTemplates,
                         ::testing::Values("llama3_like", "mistral_instruct_v0_1", "mixtral_instruct_v0_1",
                                           "smollm2_chatml", "zephyr_like"));

}  // namespace
}  // namespace bm
