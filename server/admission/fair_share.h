// FairShare orders what several clients want of the same workers so that each gets an equal share of their
// time, however much it asks for.
//
// Start-time fair queueing (Goyal, Vin, Cheng 1996): what a client asks for gets a start tag, which is the
// virtual time now or, if that is later, the end of what the same client asked for before; the smallest start
// tag goes first, and becomes the virtual time. A client alone is served as it came; one that comes new waits
// for at most one thing of each other client. Not thread-safe.
#ifndef SERVER_ADMISSION_FAIR_SHARE_H_
#define SERVER_ADMISSION_FAIR_SHARE_H_

#include <map>
#include <string>

namespace attribution::admission {

class FairShare {
 public:
  // Returns the start tag of something that takes `seconds` of a worker; 0: unknown, and taken for a moment.
  double StartTag(const std::string& client, double seconds);

  // What the client asked for will not run: it does not count.
  void GiveBack(const std::string& client, double seconds);

  // Something with this start tag gets a worker.
  void Started(double start_tag);

  // Clients that are remembered: those that have asked for more than their share so far.
  size_t size() const { return ends_.size(); }

 private:
  double virtual_time_ = 0;
  std::map<std::string, double> ends_;  // of the last thing that each client asked for
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_FAIR_SHARE_H_
