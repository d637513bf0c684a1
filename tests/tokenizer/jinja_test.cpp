// Expected texts come from Jinja 3.1 with trim_blocks and lstrip_blocks (checked with the real one).
#include <gtest/gtest.h>

#include "base/file.h"
#include "paths.h"
#include "tokenizer/tokenizer.h"

namespace bm {
namespace {

std::string render(std::string_view source, const std::string& context = "{}") {
  auto json = parse_json(context);
  EXPECT_TRUE(json) << context;
  auto text = render_chat_template(source, *json);
  return text ? *text : "ERROR " + text.error().what();
}

// One case a line of tests/tokenizer/data/jinja_cases.jsonl: template, context, expected text or error.
TEST(Jinja, Cases) {
  auto text = read_file(testing::source_path("tests/tokenizer/data/jinja_cases.jsonl"));
  ASSERT_TRUE(text);
  size_t count = 0;
  for (const std::string& line : split(*text, '\n')) {
    if (line.empty()) continue;
    auto json = parse_json(line);
    ASSERT_TRUE(json) << line;
    ++count;
    auto rendered = render_chat_template((*json)["template"].as_string(), (*json)["context"]);
    if (json->contains("error")) {
      EXPECT_FALSE(rendered) << line << "\ngave " << *rendered;
    } else {
      ASSERT_TRUE(rendered) << line << "\n" << rendered.error().paragraph();
      EXPECT_EQ(*rendered, (*json)["text"].as_string()) << line;
    }
  }
  EXPECT_GT(count, 100u);
}

TEST(Jinja, ErrorsNameTheLine) {
  EXPECT_EQ(render("a\n{{ b.c }}"), "ERROR chat template: line 2: 'b' is undefined");
  EXPECT_EQ(render("a\n\n{% if %}"), "ERROR chat template: line 3: unexpected ''");
  EXPECT_EQ(render("{{ raise_exception('no such role') }}"), "ERROR no such role");
}

// Templates come from strangers: each of these must end soon, with an error.
TEST(Jinja, RunawayTemplatesAreStopped) {
  for (const char* source : {
           "{% set n = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% "
           "endfor %}",
           "{{ 'a' * 1000000000 }}",
           "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
           "{{ range(1000000000) }}",
           "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
           "{% macro f(n) %}{{ f(n) ~ f(n) }}{% endmacro %}{{ f(1) }}",
           "{{ 10 ** 10 ** 10 ** 10 }}",
           "{% set l = [1] %}{% for i in range(100) %}{% set l = l + l %}{{ l + l + l }}{% endfor %}{{ 'x' * "
           "300000000 }}",
           "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
       }) {
    EXPECT_EQ(render(source).substr(0, 5), "ERROR") << source;
  }
  std::string deep = "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}";
  EXPECT_EQ(render(deep).substr(0, 5), "ERROR");
  std::string chain = "{{ a" + std::string(5000, '.') + " }}", sum = "{{ 1", filters = "{{ 'a'", nots = "{{ ";
  for (int i = 0; i < 5000; ++i) {
    sum += " + 1";
    filters += " | trim";
    nots += "not ";
  }
  EXPECT_EQ(render(chain).substr(0, 5), "ERROR");
  EXPECT_EQ(render(sum + " }}").substr(0, 5), "ERROR");
  EXPECT_EQ(render(filters + " }}").substr(0, 5), "ERROR");
  EXPECT_EQ(render(nots + "1 }}").substr(0, 5), "ERROR");
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if true %}";
  EXPECT_EQ(render(blocks).substr(0, 5), "ERROR");
  EXPECT_EQ(render(std::string(2'000'000, 'a')).substr(0, 5), "ERROR");
}

}  // namespace
}  // namespace bm
