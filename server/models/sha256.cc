#include "server/models/sha256.h"

#include <openssl/evp.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace attribution::models {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 18;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

absl::StatusOr<std::string> Sha256OfFile(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return absl::FailedPreconditionError(absl::StrCat(name, " cannot be opened."));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  bool computed = context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  std::vector<char> piece(kPieceBytes);
  while (computed) {
    const size_t read = std::fread(piece.data(), 1, piece.size(), file.get());
    if (read == 0) break;
    computed = EVP_DigestUpdate(context.get(), piece.data(), read) == 1;
  }
  if (std::ferror(file.get()) != 0)
    return absl::FailedPreconditionError(absl::StrCat(name, " cannot be read."));
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int length = 0;
  if (!computed ||
      EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), &length) != 1) {
    return absl::InternalError("OpenSSL cannot compute SHA-256 in this process.");
  }
  digest.resize(length);
  return absl::BytesToHexString(digest);
}

}  // namespace attribution::models
