#include "server/rpc/connections.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace attribution::rpc {
namespace {

class ConnectionsTest : public testing::Test {
 protected:
  ConnectionsTest() {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    socklen_t size = sizeof(address_);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &size), 0);
    client_ = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(client_, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
    server_ = accept(listener_, nullptr, nullptr);
  }
  ~ConnectionsTest() override {
    for (const int descriptor : {listener_, client_, server_}) close(descriptor);
  }

  sockaddr_in address_ = {};
  int listener_ = -1;
  int client_ = -1;
  int server_ = -1;
};

TEST_F(ConnectionsTest, WhatWasWrittenArrivesBeforeTheEnd) {
  char byte = 'x';
  ASSERT_EQ(write(server_, &byte, 1), 1);
  ASSERT_EQ(write(client_, &byte, 1), 1);  // never read: a plain close would reset the connection
  ShutDownSockets(ntohs(address_.sin_port));
  EXPECT_EQ(read(client_, &byte, 1), 1);
  EXPECT_EQ(read(client_, &byte, 1), 0);
}

TEST_F(ConnectionsTest, NobodyConnectsAfterwards) {
  ShutDownSockets(ntohs(address_.sin_port));
  const int late = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_NE(connect(late, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
  close(late);
}

TEST_F(ConnectionsTest, OtherPortsAreLeftAlone) {
  ShutDownSockets(ntohs(address_.sin_port) + 1);
  const char byte = 'x';
  EXPECT_EQ(write(server_, &byte, 1), 1);
}

}  // namespace
}  // namespace attribution::rpc
