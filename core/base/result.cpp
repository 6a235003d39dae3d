#include "base/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace trainctl {

void invariant_failed(const char *condition, const char *file, int line) {
    std::fprintf(stderr, "trainctl: internal error: %s does not hold (%s:%d)\n", condition, file, line);
    std::abort();
}

const char *to_string(ErrorKind kind) {
    switch (kind) {
    case ErrorKind::invalid: return "invalid";
    case ErrorKind::not_found: return "not_found";
    case ErrorKind::exists: return "exists";
    case ErrorKind::denied: return "denied";
    case ErrorKind::no_space: return "no_space";
    case ErrorKind::unreachable: return "unreachable";
    case ErrorKind::timeout: return "timeout";
    case ErrorKind::refused: return "refused";
    case ErrorKind::interrupted: return "interrupted";
    case ErrorKind::io: return "io";
    }
    INVARIANT(false);
}

std::string Error::text() const {
    std::string out = where.empty() ? message : where + ": " + message;
    if (!hint.empty())
        out += "\nhint: " + hint;
    return out;
}

namespace {

ErrorKind kind_of_errno(int code) {
    switch (code) {
    case ENOENT: return ErrorKind::not_found;
    case EEXIST: return ErrorKind::exists;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorKind::denied;
    case ENOSPC:
    case EDQUOT: return ErrorKind::no_space;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case EPIPE: return ErrorKind::unreachable;
    case ETIMEDOUT: return ErrorKind::timeout;
    default: return ErrorKind::io;
    }
}

} // namespace

Error errno_error(int code, const std::string &what, const std::string &where) {
    Error error{kind_of_errno(code), what + ": " + std::strerror(code), where, ""};
    if (error.kind == ErrorKind::no_space)
        error.hint = "free some space or raise the quota there; nothing was lost, try again afterwards";
    if (error.kind == ErrorKind::denied)
        error.hint = "look whose it is and what its permissions are, and whether its file system is mounted read-only";
    return error;
}

} // namespace trainctl
