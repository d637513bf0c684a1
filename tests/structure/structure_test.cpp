// The house stands: includes point to the same floor or a lower one, rooms form no circle, nothing
// below cli/ prints or exits, nothing that ships is built for this machine's CPU alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "base/file.h"
#include "paths.h"

namespace bm {
namespace {

const std::map<std::string, int> kFloors{
    {"base", 1},    {"tensor", 2},   {"tokenizer", 2},   {"statistics", 2},   {"kernels", 3},
    {"formats", 3}, {"parallel", 3}, {"tasks", 3},       {"ops", 4},          {"corpus", 4},
    {"model", 5},   {"merging", 5},  {"evaluation", 6},  {"quantization", 6}, {"training", 6},
    {"serving", 6}, {"report", 7},   {"translation", 7}, {"pipeline", 8},     {"cli", 9}};

// Rooms of one floor that must not know each other, though they stand side by side.
const std::set<std::pair<std::string, std::string>> kStrangers{{"evaluation", "quantization"},
                                                               {"evaluation", "training"},
                                                               {"quantization", "evaluation"},
                                                               {"quantization", "training"},
                                                               {"training", "evaluation"},
                                                               {"training", "quantization"},
                                                               {"serving", "training"},
                                                               {"serving", "quantization"},
                                                               {"training", "serving"},
                                                               {"quantization", "serving"},
                                                               {"model", "merging"},
                                                               {"merging", "model"},
                                                               {"ops", "corpus"},
                                                               {"corpus", "ops"},
                                                               {"model", "tasks"},
                                                               {"report", "translation"},
                                                               {"translation", "report"}};

struct Source {
  std::string path, room, text;
};

std::vector<Source> sources() {
  std::vector<Source> all;
  std::string root = testing::source_path("src");
  auto files = list_files(root);
  for (const std::string& path : *files) {
    if (!path.ends_with(".h") && !path.ends_with(".cpp") && !path.ends_with(".cu") && !path.ends_with(".cuh"))
      continue;
    std::string inside = path.substr(root.size() + 1);
    all.push_back({inside, inside.substr(0, inside.find('/')), *read_file(path)});
  }
  return all;
}

std::vector<std::string> included_rooms(const std::string& text) {
  static const std::regex pattern("#include \"([a-z_]+)/[^\"]+\"");
  std::vector<std::string> rooms;
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
    rooms.push_back((*at)[1]);
  return rooms;
}

TEST(Structure, IncludesPointDownOrSideways) {
  for (const Source& source : sources()) {
    ASSERT_TRUE(kFloors.contains(source.room)) << source.path << " is in no known room";
    for (const std::string& room : included_rooms(source.text)) {
      ASSERT_TRUE(kFloors.contains(room)) << source.path << " includes from unknown room " << room;
      EXPECT_LE(kFloors.at(room), kFloors.at(source.room))
          << source.path << " includes upwards from " << room;
      EXPECT_FALSE(kStrangers.contains({source.room, room}))
          << source.path << " must know nothing of " << room;
    }
  }
}

TEST(Structure, NoCircleOfRooms) {
  std::map<std::string, std::set<std::string>> uses;
  for (const Source& source : sources())
    for (const std::string& room : included_rooms(source.text))
      if (room != source.room) uses[source.room].insert(room);
  std::map<std::string, int> colour;
  std::function<bool(const std::string&)> acyclic = [&](const std::string& room) {
    if (colour[room] == 1) return false;
    if (colour[room] == 2) return true;
    colour[room] = 1;
    for (const std::string& next : uses[room])
      if (!acyclic(next)) return false;
    colour[room] = 2;
    return true;
  };
  for (const auto& [room, floor] : kFloors) EXPECT_TRUE(acyclic(room)) << "circle through " << room;
}

// Header circles would compile (pragma once) and still be a knot.
TEST(Structure, NoCircleOfHeaders) {
  static const std::regex pattern("#include \"([a-z_]+/[^\"]+\\.h)\"");
  std::map<std::string, std::vector<std::string>> uses;
  for (const Source& source : sources()) {
    if (!source.path.ends_with(".h")) continue;
    for (std::sregex_iterator at(source.text.begin(), source.text.end(), pattern), end; at != end; ++at)
      uses[source.path].push_back((*at)[1]);
  }
  std::map<std::string, int> colour;
  std::function<bool(const std::string&)> acyclic = [&](const std::string& header) {
    if (colour[header] == 1) return false;
    if (colour[header] == 2) return true;
    colour[header] = 1;
    for (const std::string& next : uses[header])
      if (!acyclic(next)) return false;
    colour[header] = 2;
    return true;
  };
  for (const auto& [header, list] : uses) EXPECT_TRUE(acyclic(header)) << "circle through " << header;
}

TEST(Structure, NothingBelowTheCommandLinePrintsOrExits) {
  static const std::regex pattern(
      R"((^|[^\w:.>])(std::)?(cout|cerr|clog|printf|puts|putchar|abort|exit|_exit|quick_exit|terminate)\b\s*(\(|<<))");
  for (const Source& source : sources()) {
    if (source.room == "cli") continue;
    std::string code = std::regex_replace(source.text, std::regex("//[^\n]*"), "");
    std::smatch found;
    EXPECT_FALSE(std::regex_search(code, found, pattern)) << source.path << ": " << found.str();
    EXPECT_EQ(code.find("throw "), std::string::npos) << source.path << " throws";
  }
}

// A generated table may be long; code asks to be split.
TEST(Structure, FilesStayShort) {
  for (const Source& source : sources()) {
    if (source.text.find("// Generated table") != std::string::npos) continue;
    auto lines = std::count(source.text.begin(), source.text.end(), '\n');
    EXPECT_LE(lines, 600) << source.path;
  }
}

TEST(Structure, NotBuiltForOneMachine) {
  for (const char* name :
       {"CMakeLists.txt", "CMakePresets.json", "cmake/Rooms.cmake", "cmake/Libraries.cmake"})
    EXPECT_EQ(read_file(testing::source_path(name))->find("march=native"), std::string::npos) << name;
}

// Architecture rule 6: instruction-set files live only in kernels/.
TEST(Structure, InstructionSetsOnlyInKernels) {
  static const std::regex pattern("_(avx2|avx512[a-z0-9]*|neon|amx)\\.cpp$");
  for (const Source& source : sources()) {
    if (source.room == "kernels") continue;
    EXPECT_FALSE(std::regex_search(source.path, pattern)) << source.path;
    EXPECT_EQ(source.text.find("immintrin.h"), std::string::npos) << source.path;
  }
}

}  // namespace
}  // namespace bm
