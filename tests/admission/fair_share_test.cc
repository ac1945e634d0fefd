#include "server/admission/fair_share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace attribution::admission {
namespace {

TEST(FairShareTest, OneClientIsServedAsItCame) {
  FairShare shares;
  double last = -1;
  for (const double seconds : {3.0, 0.0, 1.0, 0.001}) {
    const double tag = shares.StartTag("a", seconds);
    EXPECT_GT(tag, last);
    last = tag;
  }
}

TEST(FairShareTest, WhoComesNewStandsBehindOneThingOfEachOther) {
  FairShare shares;
  std::vector<std::pair<double, std::string>> queue;
  for (int i = 0; i < 10; ++i) queue.emplace_back(shares.StartTag("greedy", 1), "greedy");
  shares.Started(queue[0].first);
  queue.emplace_back(shares.StartTag("new", 1), "new");
  std::stable_sort(queue.begin(), queue.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  EXPECT_EQ(queue[1].second, "new");
}

// Two clients that always have something waiting, one of them ten times as much at a time.
TEST(FairShareTest, TimeIsSharedEvenlyWhateverThePieces) {
  FairShare shares;
  const std::map<std::string, double> pieces = {{"long", 1.0}, {"short", 0.1}};
  std::map<std::string, double> next;
  std::map<std::string, double> served;
  for (const auto& [client, seconds] : pieces) next[client] = shares.StartTag(client, seconds);
  for (int i = 0; i < 1100; ++i) {
    const std::string client = next["long"] <= next["short"] ? "long" : "short";
    shares.Started(next[client]);
    served[client] += pieces.at(client);
    next[client] = shares.StartTag(client, pieces.at(client));
  }
  EXPECT_NEAR(served["long"], served["short"], 1.01);
}

TEST(FairShareTest, WhatDoesNotRunDoesNotCount) {
  FairShare shares;
  const double first = shares.StartTag("a", 1);
  (void)shares.StartTag("a", 5);
  shares.GiveBack("a", 5);
  EXPECT_EQ(shares.StartTag("a", 1), first + 1);
  shares.GiveBack("nobody", 1);
  EXPECT_EQ(shares.size(), 1);
}

TEST(FairShareTest, ClientsAreForgotten) {
  FairShare shares;
  for (int i = 0; i < 1000; ++i) shares.Started(shares.StartTag("client " + std::to_string(i), 0.01));
  shares.Started(shares.StartTag("last", 1));
  shares.Started(shares.StartTag("last", 1));
  EXPECT_LE(shares.size(), 2);
}

}  // namespace
}  // namespace attribution::admission
