// Holds docs/configuration.md against the table of settings.
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "server/config_settings.h"

namespace attribution::config {
namespace {

std::string Page() {
  std::ifstream file(CONFIGURATION_PAGE);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The flags that have a row of a table: lines that start with "| `--flag".
std::set<std::string> FlagsWithARow(const std::string& page) {
  const std::string start = "| `--";
  std::set<std::string> flags;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(start, 0) != 0) continue;
    flags.insert(line.substr(start.size(), line.find_first_of("` ", start.size()) - start.size()));
  }
  return flags;
}

TEST(ConfigPageTest, HasARowForEveryFlagAndNoOther) {
  std::set<std::string> expected = {"config", "check-config", "print-config", "help"};
  for (const Setting& setting : Settings()) expected.insert(setting.flag);
  EXPECT_EQ(FlagsWithARow(Page()), expected);
}

TEST(ConfigPageTest, GivesEveryDefault) {
  const std::string page = Page();
  for (const Setting& setting : Settings()) {
    const std::string value = setting.write(ServerConfig{});
    const std::string cell = value.empty() ? "none" : "`" + value + "`";
    const std::string row = "| `--" + setting.flag + " " + setting.value + "` | " + cell + " |";
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace attribution::config
