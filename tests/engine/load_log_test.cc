#include "server/engine/load_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace attribution::engine {
namespace {

using testing::HasSubstr;
using testing::Not;

AttentionSite Site(int32_t index, const std::string& path, const std::string& tap_reason) {
  AttentionSite site;
  site.index = index;
  site.module_path = path;
  site.kind = tap_reason.empty() ? SiteKind::kBlocked : SiteKind::kTapped;
  site.tap_reason = tap_reason;
  return site;
}

std::string LogOf(const ModelInfo& model) {
  testing::internal::CaptureStderr();
  LogLoad(model);
  return testing::internal::GetCapturedStderr();
}

TEST(LoadLogTest, CountsSitesByTheWayTheyAreSeen) {
  ModelInfo model;
  model.name = "minilm";
  model.state = ModelState::kServing;
  model.sites = {Site(0, "layer.0", ""), Site(1, "layer.1", "a gate"), Site(2, "layer.2", "")};
  model.skipped = {{"pooler", "not square"}};
  EXPECT_THAT(LogOf(model), HasSubstr("model=minilm"));
  EXPECT_THAT(LogOf(model), HasSubstr("sites_in_blocks=2 sites_tapped=1 sites_skipped=1"));
}

TEST(LoadLogTest, NamesEachReasonOnceWithTheFirstSite) {
  ModelInfo model;
  model.state = ModelState::kServing;
  model.sites = {Site(0, "layer.0", "a gate"), Site(1, "layer.1", "a gate"), Site(2, "layer.2", "a sum")};
  const std::string log = LogOf(model);
  EXPECT_THAT(log, HasSubstr("sites=2 first=layer.0 reason=\"a gate\""));
  EXPECT_THAT(log, HasSubstr("sites=1 first=layer.2 reason=\"a sum\""));
  EXPECT_THAT(log, Not(HasSubstr("layer.1")));
}

}  // namespace
}  // namespace attribution::engine
