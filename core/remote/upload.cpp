#include "remote/upload.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr int mismatch_code = 93; // our own exit code: not one of cat, mkdir, mv or the shell

// Receives stdin into $t; `set -e` ends at the first failure and the trap removes what came so far.
std::string receive_line(const std::string &part, const std::string &path) {
    return fmt::format("set -e; umask 077; t={}; trap 'rm -f -- \"$t\"' EXIT; trap 'exit 129' HUP INT TERM; mkdir -p -- {}; "
                       "cat > \"$t\"",
                       shell_path(part), shell_path(parent_path(path)));
}

// A stream that is cut looks to `cat` like its end: only the hash tells, so nothing is renamed without it.
std::string publish_line(const Upload &upload, const std::string &sha256) {
    return fmt::format("got=$(sha256sum < \"$t\"); got=${{got%% *}}; "
                       "[ \"$got\" = {} ] || {{ echo \"SHA-256 there is $got\" >&2; exit {}; }}; "
                       "chmod {} \"$t\"; sync \"$t\"; mv -f -- \"$t\" {}; trap - EXIT",
                       shell_quote(sha256), mismatch_code, shell_quote(upload.mode), shell_path(upload.path));
}

Error failure(const Transport &transport, const Upload &upload, const CommandResult &result) {
    const auto said = std::string{trim(result.err)};
    Error error{ErrorKind::io, fmt::format("cannot write the file (exit code {}): {}", result.exit_code, said),
                transport.name() + ":" + upload.path, ""};
    if (result.exit_code == mismatch_code) {
        error.message = "what arrived is not what was sent: " + said;
        error.hint = "the stream was cut or changed on the way; try again";
    } else if (said.find("No space left") != std::string::npos || said.find("quota") != std::string::npos) {
        error.kind = ErrorKind::no_space;
        error.hint = "make room there, or choose another run root";
    } else if (said.find("Permission denied") != std::string::npos || said.find("Read-only") != std::string::npos) {
        error.hint = "choose a run root that you may write";
    }
    return error;
}

Result<void> step(Transport &transport, const Upload &upload, const RemoteCommand &command) {
    const auto result = transport.run(command);
    if (!result)
        return result.error();
    if (!result->ok())
        return failure(transport, upload, *result);
    return {};
}

} // namespace

std::string shell_path(std::string_view path) {
    for (const std::string_view home : {"~/", "$HOME/"})
        if (starts_with(path, home))
            return "\"$HOME\"/" + shell_quote(path.substr(home.size()));
    if (path == "~" || path == "$HOME")
        return "\"$HOME\"";
    // A leading dash would be an option to commands without "--".
    return shell_quote(starts_with(path, "-") ? "./" + std::string{path} : std::string{path});
}

Result<void> upload(Transport &transport, const Upload &upload) {
    const std::string part = upload.path + ".partial." + random_hex(8);
    RemoteCommand receive;
    receive.line = receive_line(part, upload.path);
    receive.deadline = upload.deadline;
    receive.more_input = upload.more_input;
    if (upload.sha256) {
        receive.line += "; " + publish_line(upload, *upload.sha256);
        return step(transport, upload, receive);
    }
    Sha256 hash;
    receive.line += "; trap - EXIT";
    receive.more_input = [&] {
        auto piece = upload.more_input();
        if (piece)
            hash.add(*piece);
        return piece;
    };
    if (auto received = step(transport, upload, receive); !received)
        return received;
    RemoteCommand publish;
    publish.line = fmt::format("set -e; t={}; trap 'rm -f -- \"$t\"' EXIT; {}", shell_path(part),
                               publish_line(upload, hash.hex()));
    publish.deadline = upload.deadline;
    return step(transport, upload, publish);
}

} // namespace trainctl
