// Result<T>: a value or an Error that says what happened, where, and what to do. Outcomes that are part
// of normal life (rejected, timed out, unknown) are variants of their own and never hide in an Error.
#pragma once

#include "base/invariant.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace trainctl {

enum class ErrorKind {
    invalid,      // what we were given makes no sense: a file of the user, an argument, an answer
    not_found,    // something that must be there is not
    exists,       // something that must not be there is
    denied,       // permissions, authentication, host keys
    no_space,     // disk, quota or inodes used up
    unreachable,  // no connection, or it broke; what was asked for may or may not have happened
    timeout,      // a deadline passed; what was asked for may or may not have happened
    refused,      // the other side understood and said no
    interrupted,  // the user or the system asked us to end
    io,           // everything else that the operating system reports
};

const char *to_string(ErrorKind kind);

struct Error {
    ErrorKind kind = ErrorKind::io;
    std::string message; // what happened, with the other program's own words
    std::string where;   // file:line:col, path, or host and command; may be empty
    std::string hint;    // what to do; may be empty

    // "where: message" and, on a line of its own, "hint: ..." where there is one.
    std::string text() const;
};

// Error from errno: picks the kind (ENOSPC and EDQUOT are no_space, EACCES and EPERM denied, ...).
Error errno_error(int code, const std::string &what, const std::string &where);

template <class T> class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    const T &value() const & { INVARIANT(ok()); return std::get<0>(state_); }
    T &value() & { INVARIANT(ok()); return std::get<0>(state_); }
    T &&value() && { INVARIANT(ok()); return std::get<0>(std::move(state_)); }
    const T &operator*() const & { return value(); }
    T &operator*() & { return value(); }
    T &&operator*() && { return std::move(*this).value(); }
    const T *operator->() const { return &value(); }
    T *operator->() { return &value(); }

    const Error &error() const { INVARIANT(!ok()); return std::get<1>(state_); }

private:
    std::variant<T, Error> state_;
};

template <> class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    bool ok() const { return !error_; }
    explicit operator bool() const { return ok(); }
    const Error &error() const { INVARIANT(!ok()); return *error_; }

private:
    std::optional<Error> error_;
};

} // namespace trainctl
