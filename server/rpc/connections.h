// The TCP connections of this process, as the system knows them. Free functions; Linux.
#ifndef SERVER_RPC_CONNECTIONS_H_
#define SERVER_RPC_CONNECTIONS_H_

namespace attribution::rpc {

// Shuts every socket that is bound to `port` down, the listening one first: what was written still arrives,
// then the peer finds the connection closed. The descriptors stay with their owner.
void ShutDownSockets(int port);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CONNECTIONS_H_
