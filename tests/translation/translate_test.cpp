// The whole verb against a server that misbehaves on purpose.
#include "translation/translate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "base/system.h"
#include "paths.h"
#include "tasks/importers.h"
#include "translation/chat_server.h"

namespace bm {
namespace {

using testing::ChatServer;
using testing::say;
using testing::ServerReply;

const char* const kItems =
    R"({"identifier": "q1", "corpus": "MedQA", "lang": "en", "context": null, "question": "A 45-year-old man does not sleep. Which drug, 5 mg?", "options": {"A": "Aspirin", "B": "No drug", "C": "1,250 mg of iron"}, "correct_answer_letter": "B"}
{"identifier": "q2", "corpus": "MedQA", "lang": "en", "context": "An abstract.", "question": "Is it so?", "options": {"A": "yes", "B": "no"}, "correct_answer_letter": "A"}
)";

Json source_of(const Json& body) { return *parse_json(body["messages"][1]["content"].as_string()); }
bool is_back(const Json& body) {
  return body["messages"][0]["content"].as_string().find("into English") != std::string::npos;
}

// A translation that passes every check: marks the text, and keeps a negation.
std::string translated(const Json& source) {
  Json reply = Json::object();
  for (const auto& [key, text] : source.members()) reply.set(key, "ne pas : " + text.as_string() + " le la");
  return reply.dump();
}
std::string untranslated(const Json& source) {
  Json reply = Json::object();
  for (const auto& [key, text] : source.members()) {
    std::string t = text.as_string();
    reply.set(key, t.substr(9, t.size() - 9 - 6));
  }
  return reply.dump();
}
ServerReply obedient(const Json& body) {
  return say(is_back(body) ? untranslated(source_of(body)) : translated(source_of(body)));
}

struct Job {
  testing::TemporaryFolder folder;
  TranslateOptions options;
  CommonOptions common;
  explicit Job(const std::string& url) {
    EXPECT_TRUE(write_file_atomic(folder.file("items.jsonl"), kItems).ok());
    options.items = {folder.file("items.jsonl")};
    options.to = {"fr"};
    options.endpoint = url;
    options.model = "m";
    options.out = folder.file("out");
    options.retry_wait = 0.01;
    options.timeout = 5;
    options.parallel = 1;
  }
  std::string text(const std::string& name) { return read_file(options.out + "/" + name).value(); }
  std::vector<Json> lines(const std::string& name) {
    std::vector<Json> all;
    for (const auto& line : split(text(name), '\n'))
      if (!line.empty()) all.push_back(parse_json(line).value());
    return all;
  }
};

TEST(Translate, WritesItemsThatEvaluateReads) {
  ChatServer server([](int, const Json& body) { return obedient(body); });
  Job run(server.url());
  run.options.back_translate = true;
  auto report = translate(run.options, run.common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->translated, 2);
  EXPECT_EQ(report->failed, 0);
  EXPECT_EQ(server.calls(), 10) << "two and three fields, each there and back";
  auto items = import_items(run.options.out + "/medqa.fr.jsonl");
  ASSERT_TRUE(items.ok()) << items.error().paragraph();
  ASSERT_EQ(items->items.size(), 2u);
  EXPECT_EQ(items->items[0].language, "fr");
  EXPECT_EQ(items->items[0].correct_letter, "B");
  EXPECT_EQ(items->items[0].option("C")->text, "ne pas : 1,250 mg of iron le la");
  EXPECT_EQ(items->items[1].context, "ne pas : An abstract. le la");
  auto lines = run.lines("medqa.fr.jsonl");
  EXPECT_EQ(lines[0]["question"].as_string().substr(0, 4), "A 45") << "the English text stays beside it";
  EXPECT_NEAR(lines[0]["back_translation_chrf"]["options"]["C"].as_double(), 100, 1e-9);
  EXPECT_EQ(report->cost["prompt_tokens"].as_int(), 1000);
  auto again = translate(run.options, run.common);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
  EXPECT_EQ(server.calls(), 10);
}

TEST(Translate, SurvivesEveryMisbehaviour) {
  ChatServer server([](int call, const Json& body) -> ServerReply {
    ServerReply good = obedient(body);
    switch (call) {
      case 0:
        return {429, R"({"error": {"message": "slow down"}})", "Retry-After: 0\r\n"};
      case 1:
        return {500, "oops"};
      case 2:
        good.cut = good.body.size() / 2;
        return good;
      case 3:
        good.hang_up = true;
        return good;
      case 4:
        return say(R"({"Z": "wrong letters"})");
      case 5:
        return {200, R"({"choices": [)"};
      case 6:
        good.delay = 30;  // longer than the request may take
        return good;
      default:
        return good;
    }
  });
  Job run(server.url());
  run.options.timeout = 0.5;
  run.options.retries = 8;
  auto report = translate(run.options, run.common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->translated, 2);
  EXPECT_EQ(report->cost["failed_calls"].as_int(), 7);
  auto ledger = run.lines("ledger.jsonl");
  ASSERT_EQ(ledger.size(), 12u) << "every call has its line";
  EXPECT_EQ(ledger[0]["http"].as_int(), 429);
  EXPECT_NE(ledger[0]["reason"].as_string().find("slow down"), std::string::npos);
  EXPECT_EQ(ledger[3]["http"].as_int(), 0);
  EXPECT_NE(ledger[4]["reason"].as_string().find("keys must be exactly"), std::string::npos);
}

TEST(Translate, TellsTheModelWhatWasWrong) {
  std::string complaint;
  ChatServer server([&](int call, const Json& body) {
    if (call == 0) return say(R"({"text": "Quel médicament ?"})");  // negation and numbers are lost
    if (call == 1) complaint = body["messages"][3]["content"].as_string();
    return obedient(body);
  });
  Job run(server.url());
  ASSERT_TRUE(translate(run.options, run.common).ok());
  EXPECT_NE(complaint.find("45"), std::string::npos) << complaint;
}

TEST(Translate, OneBadItemSinksNothingAndIsAskedAgain) {
  bool stubborn = true;
  ChatServer server([&](int, const Json& body) {
    if (stubborn && source_of(body)["text"] == Json("Is it so?")) return say("I'm sorry, I cannot.");
    return obedient(body);
  });
  Job run(server.url());
  run.options.retries = 1;
  auto first = translate(run.options, run.common);
  ASSERT_TRUE(first.ok()) << first.error().paragraph();
  EXPECT_EQ(first->translated, 1);
  EXPECT_EQ(first->failed, 1);
  EXPECT_EQ(run.lines("medqa.fr.jsonl").size(), 1u);
  auto last = run.lines("ledger.jsonl").back();
  EXPECT_EQ(last["status"].as_string(), "failed");
  EXPECT_EQ(last["identifier"].as_string(), "q2");
  int before = server.calls();
  stubborn = false;
  auto second = translate(run.options, run.common);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->translated, 2);
  EXPECT_EQ(server.calls() - before, 3) << "only what is missing";
  EXPECT_GT(second->cost["calls"].as_int(), 3) << "the ledger's earlier calls count";
}

TEST(Translate, TornFilesOfAKilledRunAreCut) {
  ChatServer server([](int, const Json& body) { return obedient(body); });
  Job whole(server.url()), torn(server.url());
  ASSERT_TRUE(translate(whole.options, whole.common).ok());
  ServerReply deaf{500, "no"};
  bool down = false;
  ChatServer second([&](int call, const Json& body) { return down || call >= 2 ? deaf : obedient(body); });
  torn.options.endpoint = second.url();
  torn.options.retries = 0;
  ASSERT_TRUE(translate(torn.options, torn.common).ok());
  auto cache = torn.text("cache.jsonl");
  ASSERT_TRUE(write_file_atomic(torn.options.out + "/cache.jsonl", cache + "{\"key\": \"half").ok());
  torn.options.endpoint = server.url();
  auto report = translate(torn.options, torn.common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(torn.text("medqa.fr.jsonl"), whole.text("medqa.fr.jsonl"));
}

TEST(Translate, BudgetIsACeiling) {
  ChatServer server([](int, const Json& body) { return obedient(body); });
  Job run(server.url());
  run.options.price_in = run.options.price_out = 1000;  // 0.15 a call
  run.options.budget = 0.8;
  auto report = translate(run.options, run.common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_GT(report->failed, 0);
  EXPECT_GT(report->translated, 0);
  EXPECT_LE(report->cost["cost"].as_double(), 0.8);
  EXPECT_NE(run.text("ledger.jsonl").find("the budget is spent"), std::string::npos);
}

TEST(Translate, KeyIsSentAndNeverStored) {
  ChatServer server([](int, const Json& body) { return obedient(body); });
  Job run(server.url());
  run.options.key_variable = "BIOMISTRAL_TEST_KEY";
  ::setenv("BIOMISTRAL_TEST_KEY", "very-secret", 1);
  ASSERT_TRUE(translate(run.options, run.common).ok());
  ::unsetenv("BIOMISTRAL_TEST_KEY");
  EXPECT_NE(server.heads()[0].find("Authorization: Bearer very-secret"), std::string::npos);
  auto files = list_files(run.options.out);
  for (const auto& path : *files) EXPECT_EQ(read_file(path)->find("very-secret"), std::string::npos) << path;
}

TEST(Translate, RefusedKeyStopsAtOnce) {
  ChatServer server([](int, const Json&) -> ServerReply {
    return {401, R"({"error": {"message": "bad key"}})"};
  });
  Job run(server.url());
  auto report = translate(run.options, run.common);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code(), Code::failed);
  EXPECT_NE(report.error().paragraph().find("bad key"), std::string::npos);
  EXPECT_EQ(server.calls(), 1);
}

TEST(Translate, ParallelRequestsGiveTheSameFile) {
  ChatServer server([](int, const Json& body) {
    auto reply = obedient(body);
    reply.delay = 0.05;
    return reply;
  });
  Job one(server.url()), two(server.url());
  two.options.parallel = 2;
  ASSERT_TRUE(translate(one.options, one.common).ok());
  EXPECT_EQ(server.most_at_once(), 1);
  ASSERT_TRUE(translate(two.options, two.common).ok());
  EXPECT_EQ(server.most_at_once(), 2);
  EXPECT_EQ(one.text("medqa.fr.jsonl"), two.text("medqa.fr.jsonl"));
}

TEST(Translate, RateLimitSpacesRequests) {
  ChatServer server([](int, const Json& body) { return obedient(body); });
  Job run(server.url());
  run.options.requests_per_minute = 600;  // one each 0.1 s, five requests
  double start = now_seconds();
  ASSERT_TRUE(translate(run.options, run.common).ok());
  EXPECT_GE(now_seconds() - start, 0.39);
}

TEST(Translate, BadInputWritesNothing) {
  Job run("http://127.0.0.1:9/v1");
  auto refused = [&](auto change) {
    TranslateOptions options = run.options;
    change(options);
    auto report = translate(options, run.common);
    EXPECT_FALSE(report.ok());
    EXPECT_TRUE(!report.ok() && report.error().code() == Code::bad_input);
    EXPECT_FALSE(exists(options.out));
  };
  refused([](auto& o) { o.endpoint = "localhost"; });
  refused([](auto& o) { o.to = {}; });
  refused([](auto& o) { o.to = {"en"}; });
  refused([](auto& o) { o.items = {}; });
  refused([](auto& o) { o.items = {"/no/such/file.jsonl"}; });
  refused([](auto& o) { o.budget = 1; });
  refused([](auto& o) { o.parallel = 0; });
}

}  // namespace
}  // namespace bm
