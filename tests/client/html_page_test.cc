#include "client/cli/html_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/match.h"
#include "tests/client/sample_reply.h"

namespace attribution::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HtmlPageTest, EscapesEverythingThatHtmlKnows) {
  EXPECT_EQ(EscapeHtml("<a href=\"x\" id='y'>&</a>"),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;&lt;/a&gt;");
}

TEST(HtmlPageTest, EscapesTextsAndTokens) {
  const std::string page = HtmlPage(SampleReply());
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page, HasSubstr("a &lt;b&gt;"));
  EXPECT_THAT(page, HasSubstr("title=\"&lt;b&gt; → a: 0.1000\""));
}

TEST(HtmlPageTest, LoadsNothingAndRunsNothing) {
  const std::string page = HtmlPage(SampleReply());
  for (const char* forbidden :
       {"http:", "https:", "//", "src=", "href=", "<script", "<link", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(forbidden)));
  }
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(HtmlPageTest, FollowsTheReadersColourScheme) {
  EXPECT_THAT(HtmlPage(SampleReply()), HasSubstr("@media (prefers-color-scheme: dark)"));
}

TEST(HtmlPageTest, ShowsAHeatMapForEachSequence) {
  const std::string page = HtmlPage(SampleReply());
  EXPECT_THAT(page, HasSubstr("<h2>Sequence 0: a &lt;b&gt;</h2>"));
  EXPECT_THAT(page, HasSubstr("<h2>Sequence 1: c</h2>"));
}

TEST(HtmlPageTest, ShowsAbsentMetricsAsADash) {
  EXPECT_THAT(HtmlPage(SampleReply()),
              HasSubstr("<tr><th scope=\"row\">rollout_max</th><td>-</td><td>-</td><td>-</td></tr>"));
}

TEST(HtmlPageTest, NeverPrintsNan) {
  Reply reply = SampleReply();
  reply.result.metrics.mean_attention = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(absl::StrContains(HtmlPage(reply), ">nan<"));
}

TEST(HtmlPageTest, FoldsAMatrixThatIsTooLong) {
  LabelledMatrix matrix;
  for (int i = 0; i < 300; ++i) matrix.row_labels.push_back("t");
  matrix.column_labels = matrix.row_labels;
  matrix.values.assign(300 * 300, 0.01f);
  EXPECT_THAT(HtmlHeatMap(matrix), HasSubstr("a cell is 3 tokens"));
}

}  // namespace
}  // namespace attribution::cli
