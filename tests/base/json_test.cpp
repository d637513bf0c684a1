#include "base/json.h"

#include <gtest/gtest.h>

namespace bm {
namespace {

TEST(Json, KeepsOrderAndWritesAsPython) {
  auto json = parse_json(R"({"b":1,"a":[1.0,2.5e-7,1e22,true,null,"ü\n"],"c":{}})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->dump(), R"({"b":1,"a":[1.0,2.5e-07,1e+22,true,null,"ü\n"],"c":{}})");
  EXPECT_EQ(json->dump_spaced(), R"({"b": 1, "a": [1.0, 2.5e-07, 1e+22, true, null, "ü\n"], "c": {}})");
  EXPECT_EQ(json->dump_pretty(2),
            "{\n  \"b\": 1,\n  \"a\": [\n    1.0,\n    2.5e-07,\n    1e+22,\n    true,\n    null,\n    "
            "\"ü\\n\"\n  ],\n  \"c\": {}\n}");
}

// repr(x) of CPython 3.11 for each.
TEST(Json, NumbersAsPythonRepr) {
  EXPECT_EQ(Json(1e-4).dump(), "0.0001");
  EXPECT_EQ(Json(1e-5).dump(), "1e-05");
  EXPECT_EQ(Json(123456789.0).dump(), "123456789.0");
  EXPECT_EQ(Json(1e16).dump(), "1e+16");
  EXPECT_EQ(Json(1e15).dump(), "1000000000000000.0");
  EXPECT_EQ(Json(0.1 + 0.2).dump(), "0.30000000000000004");
  EXPECT_EQ(Json(-0.0).dump(), "-0.0");
}

TEST(Json, IntegersUpTo64Bits) {
  auto json = parse_json("[9223372036854775807, 18446744073709551615, -9223372036854775808]");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)[0].as_int(), INT64_MAX);
  EXPECT_EQ((*json)[1].as_uint(), UINT64_MAX);
  EXPECT_EQ((*json)[2].as_int(), INT64_MIN);
  EXPECT_EQ(json->dump(), "[9223372036854775807,18446744073709551615,-9223372036854775808]");
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text :
       {"", "{", "[1,]", "{\"a\":1,\"a\":2}", "nul", "{'a':1}", "[1] x", "\"\xff\"", "[\"\\ud800\"]"})
    EXPECT_FALSE(parse_json(text).ok()) << text;
  auto bad = parse_json("{\"a\": 1, \"a\": 2}");
  EXPECT_NE(bad.error().what().find("duplicate key \"a\""), std::string::npos);
  JsonParseOptions lax;
  lax.reject_duplicate_keys = false;
  auto last = parse_json("{\"a\": 1, \"a\": 2}", lax);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ((*last)["a"].as_int(), 2);
}

TEST(Json, DeepNestingIsAnErrorNotACrash) {
  std::string deep(100000, '[');
  EXPECT_FALSE(parse_json(deep).ok());
  deep += std::string(100000, ']');
  EXPECT_FALSE(parse_json(deep).ok());
}

TEST(Json, ManyMembersAreFoundAndErased) {
  Json object = Json::object();
  for (int i = 0; i < 1000; ++i) object.set("k" + std::to_string(i), i);
  EXPECT_EQ(object["k777"].as_int(), 777);
  EXPECT_TRUE(object.erase("k3"));
  EXPECT_FALSE(object.contains("k3"));
  EXPECT_EQ(object["k999"].as_int(), 999);
  object.set("k999", "x");
  EXPECT_EQ(object["k999"].as_string(), "x");
  EXPECT_EQ(object.size(), 999u);
}

TEST(Json, ReadsNameKeyAndType) {
  Json json = Json::object({{"a", "x"}});
  auto missing = json.get_int("b");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().what().find("\"b\" is missing"), std::string::npos);
  auto wrong = json.get_int("a");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().what().find("a string"), std::string::npos);
  EXPECT_EQ(*json.get_int("b", 5), 5);
}

TEST(Yaml, ScalarsLinesAndDuplicates) {
  auto yaml = parse_yaml("a: 1\nb: [true, .5, 1e-3, \"2\", text]\nc:\n  d: null\n");
  ASSERT_TRUE(yaml.ok());
  EXPECT_EQ(yaml->dump(), R"({"a":1,"b":[true,0.5,0.001,"2","text"],"c":{"d":null}})");
  EXPECT_EQ((*yaml)["c"].line(), 3u);
  EXPECT_EQ((*yaml)["c"]["d"].line(), 4u);
  EXPECT_FALSE(parse_yaml("a: 1\na: 2\n").ok());
  EXPECT_FALSE(parse_yaml("a: [1\n").ok());
  EXPECT_FALSE(parse_yaml("a: 1\n---\nb: 2\n").ok());
  EXPECT_EQ(parse_yaml_documents("a: 1\n---\nb: 2\n")->size(), 2u);
}

TEST(Yaml, AliasesThatExplodeAreRefused) {
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) bomb += std::string(i ? "," : "") + "*" + static_cast<char>(c - 1);
    bomb += "]\n";
  }
  EXPECT_FALSE(parse_yaml(bomb).ok());
}

TEST(Yaml, WritesWhatItReads) {
  auto value = parse_yaml("a: 1\nb: [x, \"1\", \"true\", 0.5]\nc: {d: null, e: \"\"}\n");
  ASSERT_TRUE(value.ok());
  auto again = parse_yaml(dump_yaml(*value));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->dump(), value->dump());
}

}  // namespace
}  // namespace bm
